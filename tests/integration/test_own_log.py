"""A fleet's own log: nobody who reads it slowly holds it up, it is bounded, and ids go through."""

import fcntl
import json
import os
import select
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from cli_fixtures import Cli, until

REQUESTS = 100


@pytest.fixture
def cli(tmp_path):
    cli = Cli(tmp_path)
    cli.environ["FLEET_LOGS__ACCESS"] = "all"
    yield cli
    cli.end()


def ask(cli, path="/api/generate", body=None, **headers):
    """A request for a model that is not there, unless said otherwise: status, headers, body."""
    data = json.dumps(body or {"model": "nope", "prompt": "x"}).encode()
    url = f"http://127.0.0.1:{cli.port}{path}"
    request = urllib.request.Request(url, data, {k.replace("_", "-"): headers[k] for k in headers})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def test_a_pipe_that_nobody_reads_holds_nothing_up(cli):
    """Requests are answered, and the fleet ends properly, though its log has been full for long."""
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    try:
        with cli.running(*cli.up, "--no-tui", "-v", stderr=write) as process:
            until(cli.is_up, "a fleet that is up")
            assert [ask(cli)[0] for _ in range(REQUESTS)] == [404] * REQUESTS
            assert not select.select([], [write], [], 0)[1], "the pipe is full"
            assert cli.is_up()
            assert cli.run("down", "--timeout", "80s").code == 0
            assert process.wait(60) == 0
        os.close(write)
        write = -1
        with os.fdopen(read, "rb") as pipe:
            *lines, _cut = pipe.read().split(b"\n")
        read = -1
        assert all(json.loads(line)["level"] for line in lines)
        assert lines
    finally:
        for fd in (read, write):
            if fd >= 0:
                os.close(fd)


def test_a_fleet_runs_although_its_streams_are_closed(cli):
    """As of `fleet up >&- 2>&-`: no socket or file of its own takes a stream's place."""
    with cli.running(*cli.up, "--no-tui", preexec_fn=lambda: os.closerange(0, 3)) as process:
        until(cli.is_up, "a fleet that is up")
        for fd in range(3):
            assert Path(f"/proc/{process.pid}/fd/{fd}").readlink() == Path(os.devnull)
        assert ask(cli)[0] == 404
        assert cli.run("down").code == 0
        assert process.wait(60) == 0


def test_a_reader_that_is_gone_ends_nothing(cli):
    """Whatever read the log has died: lines are lost, requests are not."""
    read, write = os.pipe()
    with cli.running(*cli.up, "--no-tui", stderr=write) as process:
        os.close(write)
        os.close(read)
        until(cli.is_up, "a fleet that is up")
        assert [ask(cli)[0] for _ in range(5)] == [404] * 5
        assert cli.run("down").code == 0
        assert process.wait(60) == 0


def sizes_of(log):
    """Of both files of a log; for a moment there is one: put aside, and the next not begun."""
    try:
        sizes = {path.name: path.stat().st_size for path in log.parent.glob("fleet.log*")}
    except FileNotFoundError:
        return {}
    return sizes if "fleet.log" in sizes else {}


def test_the_log_of_a_fleet_in_the_background_is_bounded(cli):
    """Put aside at its size, the oldest given up; what Python says at its end follows it."""
    cli.environ |= {"FLEET_LOGS__MAX_SIZE": "20KB", "FLEET_LOGS__KEEP": "1"}
    assert cli.run(*cli.up, "--wait").code == 0
    for _ in range(REQUESTS):
        ask(cli)
    ask(cli, X_Request_Id="the-last")
    log = cli.state / "logs" / "fleet.log"
    until(lambda: b"the-last" in cli.run("logs", "fleet").out.encode(), "the last request's line")
    sizes = until(lambda: sizes_of(log), "both files, at one moment")
    assert set(sizes) == {"fleet.log", "fleet.log.1"}
    assert max(sizes.values()) <= 20_000
    pid = int((cli.state / "lock").read_text())
    assert os.path.samestat(Path(f"/proc/{pid}/fd/2").stat(), log.stat())
    lines = cli.run("logs", "fleet").out.splitlines()
    assert len([json.loads(line) for line in lines]) > 40
    ids = [line.get("id") for line in map(json.loads, lines)]
    assert [each for each in ids if each][-1] == "the-last", "the oldest were given up"


def test_a_request_is_found_by_its_id_wherever_it_was(cli):
    """The client's own or ours: in the answer, in an error's body, and in the log."""
    assert cli.run(*cli.up, "-v", "--wait").code == 0
    status, headers, _ = ask(cli, X_Request_Id="mine:1")
    assert (status, headers["X-Request-Id"]) == (404, "mine:1")
    status, headers, body = ask(cli, "/v1/messages", X_Fleet_Priority="none")
    assert status == 400
    assert json.loads(body)["request_id"] == f"req_{headers['X-Request-Id']}"
    ours = ask(cli)[1]["X-Request-Id"]
    for path in ("/nowhere", "/api/tags", "/api/chat/"):
        assert ask(cli, path)[1]["X-Request-Id"], path
    assert ask(cli, "/api/tags", Origin="http://elsewhere", X_Request_Id="shut:1")[0] == 403
    for own in (ours, "mine:1", "shut:1"):
        until(lambda own=own: cli.run("logs", "fleet", "--grep", own).out, f"{own} in the log")
    (line,) = cli.run("logs", "fleet", "--grep", "mine:1").out.splitlines()
    told = json.loads(line)
    assert (told["event"], told["route"], told["status"]) == ("request", "/api/generate", 404)
    assert told["instance"] in ("gpu-0", "gpu-1")
    (line,) = cli.run("logs", "fleet", "--grep", "shut:1").out.splitlines()
    told = json.loads(line)
    assert (told["event"], told["level"], told["status"]) == ("answered here", "debug", 403)
