"""The command line against a control API that misbehaves, and without any fleet."""

import json
import os
import socket
import socketserver
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

import pytest
from cli_fixtures import Cli

HEAVY = (
    "aiohttp", "asyncio", "pydantic", "msgspec", "rich", "yaml", "psutil", "uvloop", "pynvml",
)  # fmt: skip


@pytest.fixture
def cli(tmp_path):
    return Cli(tmp_path)


def _imported(cli, code):
    program = f"import sys, os; {code}; print(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=cli.environ,
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stderr.split())


def test_help_costs_click_and_the_table_of_commands(cli):
    """`fleet --help` imports four modules of ours, no command, and few others that click has not.

    Counted, because times say more about the machine: 40 modules are about 20 ms.
    """
    help_ = _imported(cli, "from ollama_fleet.cli import run; run(['--help'])")
    ours = {name for name in help_ if name.startswith("ollama_fleet.")}
    assert ours == {f"ollama_fleet.{m}" for m in ("cli", "cli.commands", "cli.options", "errors")}
    assert len(help_ - _imported(cli, "import click")) <= 40


@pytest.mark.parametrize("arguments", [["--help"], ["status"], ["down", "--help"]])
def test_nothing_heavy_is_imported_before_it_is_needed(cli, arguments):
    """Help and status cost Python, click and a socket: no library of the fleet's own."""
    program = (
        "import sys; from ollama_fleet.cli import run; run(sys.argv[1:]);"
        f"print('heavy:', *(m for m in {HEAVY!r} if m in sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=cli.environ,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr.splitlines()[-1] == "heavy:"


@pytest.mark.parametrize(
    "arguments", [["status"], ["ps"], ["down"], ["restart"], ["pull", "m"], ["top"]]
)
def test_without_a_fleet_the_exit_code_is_69(cli, arguments):
    """Whatever needs a fleet says that none is running, and how to start one."""
    done = cli.run(*arguments)
    assert (done.code, done.out) == (69, "")
    assert done.err == "fleet: no fleet is running; `fleet up` starts one\n"


def test_a_socket_that_was_left_behind_is_no_fleet(cli):
    """A fleet that was killed leaves its socket and its pid; neither counts."""
    cli.state.mkdir()
    (cli.state / "lock").write_text(f"{os.getpid()}\n")
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(cli.state / "control.sock"))
    done = cli.run("status")
    assert (done.code, done.err) == (69, "fleet: no fleet is running; `fleet up` starts one\n")


def test_logs_can_be_read_when_no_fleet_runs(cli):
    """The files of a fleet that is gone are still there; a name nobody has lists who has one."""
    (cli.state / "logs").mkdir(parents=True)
    (cli.state / "logs" / "gpu0.log").write_text("hello\n")
    assert cli.run("logs").out == "hello\n"
    done = cli.run("logs", "gpu0", "nix")
    assert (done.code, done.out) == (1, "")
    assert done.err == "fleet: no instance is called nix; there are fleet, gpu0\n"


def test_a_reader_that_has_seen_enough_ends_us_quietly(cli):
    """`fleet logs | head -1` leaves no traceback."""
    (cli.state / "logs").mkdir(parents=True)
    (cli.state / "logs" / "gpu0.log").write_text("hello\n" * 200_000)
    with cli.running("logs") as process:
        assert process.stdout.readline() == b"hello\n"
        process.stdout.close()
        assert process.stderr.read() == b""


class _Answers(BaseHTTPRequestHandler):
    """Answers every request with what the test has put there."""

    def do_GET(self):
        self.wfile.write(self.server.answer)

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.wfile.write(self.server.answer)

    def log_message(self, *_arguments):
        pass


@contextmanager
def _answering(cli, status, body, *, length=None):
    """A control API that gives one answer to everything."""
    cli.state.mkdir()
    length = len(body) if length is None else length
    head = f"HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    with socketserver.UnixStreamServer(str(cli.state / "control.sock"), _Answers) as server:
        server.answer = head.encode() + body
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


def test_a_refusal_is_told_in_the_words_of_the_fleet(cli):
    """Reason and hint of the control API's error are those of the command's."""
    body = json.dumps({"error": "no instance is called x", "hint": "there are a, b"}).encode()
    with _answering(cli, 409, body):
        done = cli.run("restart", "x")
    assert (done.code, done.out) == (1, "")
    assert done.err == "fleet: no instance is called x; there are a, b\n"


def test_an_answer_without_sense_is_an_error_without_traceback(cli):
    """Whatever listens on the socket, a line says what came of it."""
    with _answering(cli, 500, b"<html>"):
        done = cli.run("status")
    assert (done.code, done.err) == (1, "fleet: the fleet answered 500: <html>\n")


def test_a_fleet_that_ends_while_it_answers_is_not_running(cli):
    """An answer that is cut is told as the end of the fleet."""
    with _answering(cli, 200, b'{"schema', length=1000):
        done = cli.run("status")
    assert (done.code, done.err) == (69, "fleet: the fleet ended before it had answered\n")


def test_a_download_that_ends_without_success_has_failed(cli):
    """Only Ollama's last word counts: a stream that is cut is a failure, and names the model."""
    with _answering(cli, 200, b'{"status": "pulling manifest"}\n'):
        done = cli.run("pull", "m", "n")
    assert done.code == 1
    assert [json.loads(line)["model"] for line in done.out.splitlines()] == ["m", "n"]
    assert done.err.splitlines() == [
        "fleet: m: the fleet ended before the download did",
        "fleet: n: the fleet ended before the download did",
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may open every socket")
def test_the_fleet_of_another_user_is_not_ours_to_ask(cli):
    """A socket that we may not open is 77, not a fleet that is down."""
    with _answering(cli, 200, b"{}"):
        (cli.state / "control.sock").chmod(0)
        assert cli.run("status").code == 77


def test_init_writes_a_file_that_loads_and_never_replaces_one_unasked(cli):
    """What `init` writes passes `config check`; a second `init` needs --force."""
    done = cli.run("init", "-o", "json")
    assert done.code == 0
    assert json.loads(done.out)["path"] == "fleet.yaml"
    assert cli.run("config", "check").code == 0
    (cli.folder / "fleet.yaml").write_text("# mine\n")
    done = cli.run("init")
    assert (done.code, done.out) == (1, "")
    assert (cli.folder / "fleet.yaml").read_text() == "# mine\n"
    assert cli.run("init", "--force", "-q").code == 0
    assert (cli.folder / "fleet.yaml").read_text() != "# mine\n"


def test_doctor_fails_if_a_check_does(cli):
    """Without an ollama binary the machine is not fit, and the reader is told what to do."""
    empty = cli.folder / "empty"
    empty.mkdir()
    done = cli.run("doctor", "-o", "json", PATH=str(empty))
    checks = {check["name"]: check for check in json.loads(done.out)["checks"]}
    assert done.code == 1
    assert checks["ollama"]["status"] == "fail"
    assert all(check["fix"] for check in checks.values() if check["status"] != "ok")
    table = cli.run("doctor", PATH=str(empty)).out
    assert checks["ollama"]["fix"] in table


def test_plan_tells_all_that_up_would_run(cli):
    """A simulated box has an instance per GPU, each with its reasons; nothing is started."""
    plan = json.loads(cli.run("plan", "--simulate", "-o", "json").out)
    assert plan["simulated"] == "4-mixed"
    assert [i["gpus"] for i in plan["instances"]] == [[gpu["uuid"]] for gpu in plan["gpus"]]
    assert all(i["reasons"] and i["environment"] for i in plan["instances"])
    wide = cli.run("plan", "--simulate", "-o", "wide").out
    for instance in plan["instances"]:
        assert all(reason in wide for reason in instance["reasons"])
        assert f"  OLLAMA_HOST={instance['environment']['OLLAMA_HOST']}" in wide
    assert cli.run("status").code == 69


def test_version_tells_what_runs(cli):
    """fleet, Python, and whichever ollama is on PATH, by its own word."""
    binary = cli.folder / "ollama"
    binary.write_text("#!/bin/sh\necho ollama version is 0.30.1\n")
    binary.chmod(0o755)
    path = f"{cli.folder}:{os.environ['PATH']}"
    told = json.loads(cli.run("version", "-o", "json", PATH=path).out)
    assert (told["ollama"], told["ollama_path"]) == ("0.30.1", str(binary))
    assert told["python"] == ".".join(map(str, sys.version_info[:3]))
