"""The command line and a whole simulated fleet, from `fleet up` to `fleet down`."""

import json
import os
import pty
import re
import signal
import socket
import subprocess
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest
from cli_fixtures import WAIT_S, Cli, until


@pytest.fixture
def cli(tmp_path):
    cli = Cli(tmp_path)
    yield cli
    cli.end()


@pytest.fixture
def fleet(cli):
    """A command line whose fleet is up."""
    done = cli.run(*cli.up, "--wait", "--wait-timeout", "50s")
    assert done.code == 0, done.err
    return cli


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One whose fleet is up, for tests that leave it as it was."""
    cli = Cli(tmp_path_factory.mktemp("shared"))
    try:
        done = cli.run(*cli.up, "--wait", "--wait-timeout", "50s")
        assert done.code == 0, done.err
        yield cli
    finally:
        cli.end()


def _is_there(pid: int) -> bool:
    """Whether a process lives; one that only waits to be fetched does not."""
    try:
        return " Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2][:2]
    except OSError:
        return False


def test_who_starts_a_fleet_that_anybody_may_use_is_warned_of_it(cli):
    """In the background, too: the log that says so is one that nobody has looked at yet."""
    listen = f"0.0.0.0:{cli.port}"
    up = ("up", "-d", "--simulate", "box.yaml", "--listen", listen, "--insecure-no-auth")
    done = cli.run(*up)
    assert done.code == 0, done.err
    (warning,) = [line for line in done.err.splitlines() if line.startswith("warning: ")]
    assert f"whoever reaches {listen} may use, pull and delete models" in warning


def test_a_fleet_is_started_shown_and_stopped(cli):
    """When `up --wait` returns all instances serve; when `down` returns all processes are gone."""
    done = cli.run(*cli.up, "--wait")
    assert (done.code, done.out) == (0, "")
    snapshot = cli.status()
    assert {i["phase"] for i in snapshot["instances"]} == {"ready"}
    assert snapshot["listen"] == f"127.0.0.1:{cli.port}"
    with urllib.request.urlopen(f"http://127.0.0.1:{cli.port}/api/version", timeout=20) as answer:
        assert "version" in json.load(answer)
    table = cli.run("ps")
    assert table.code == 0
    assert table.out.splitlines()[0].startswith(f"listening on 127.0.0.1:{cli.port}, ")
    rows = [line.split() for line in table.out.splitlines()[2:]]
    assert [row[0] for row in rows] == [i["name"] for i in snapshot["instances"]]
    pids = [int((cli.state / "lock").read_text()), *(i["pid"] for i in snapshot["instances"])]
    done = cli.run("down", "-o", "json")
    assert json.loads(done.out) == {"schema_version": 1, "stopped": True, "pid": pids[0]}
    assert not any(map(_is_there, pids))
    assert cli.run("status").code == 69


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_in_the_foreground_a_signal_stops_it_cleanly(cli, number):
    """Without a terminal `up` runs until it is told to stop, which is no failure."""
    with cli.running(*cli.up, stderr=subprocess.DEVNULL) as process:
        until(lambda: cli.run("status").code == 0, "the fleet answers")
        process.send_signal(number)
        assert process.wait(WAIT_S) == 0
    assert cli.run("status").code == 69


def test_a_second_fleet_on_the_same_state_is_refused(shared):
    """Who holds the directory is told, in the foreground and from the background alike."""
    holder = (shared.state / "lock").read_text().strip()
    for words in (["-d"], ["--no-tui"]):
        done = shared.run(*shared.up, *words)
        assert done.code == 75
        assert f"as pid {holder}" in done.err
        assert "; " in done.err
    assert shared.run("status").code == 0


def test_why_a_fleet_does_not_start_reaches_its_user(cli):
    """A port that is taken ends `up -d` with the reason, the hint and the exit code of `up`."""
    with socket.create_server(("127.0.0.1", cli.port)):
        detached = cli.run(*cli.up, "-d")
        foreground = cli.run(*cli.up)
    assert detached.code == foreground.code == 78
    assert detached.err == foreground.err
    assert detached.err.startswith(f"fleet: 127.0.0.1:{cli.port} is taken by pid {os.getpid()} ")


def test_every_mistake_in_the_configuration_reaches_the_user_of_a_detached_fleet(cli):
    """`up -d` shows what `config check` would."""
    (cli.folder / "fleet.yaml").write_text("listn: 1\nqueue: {limit: x}\n")
    done = cli.run("up", "-d")
    assert done.code == 78
    assert done.err == cli.run("config", "check").err
    assert len(done.err.splitlines()) == 2


def test_an_instance_that_fails_is_named_with_its_cause(cli):
    """`up --wait` ends with 1, the cause and the last lines; `status` of that fleet is 1 too."""
    cli.environ["OLLAMA_SIM_FAULTS"] = "start_failure"
    cli.environ["FLEET_SUPERVISION__START_LIMIT"] = "1"
    done = cli.run(*cli.up, "--wait")
    assert done.code == 1
    status = cli.run("status", "-o", "json")
    assert status.code == 1
    for instance in json.loads(status.out)["instances"]:
        assert f"fleet: {instance['name']} failed: {instance['cause']}" in done.err
        assert f"    {instance['log_tail'][-1]}" in done.err


def test_waiting_ends_when_its_time_is_up(cli):
    """`--wait-timeout` gives up with 124; the fleet goes on."""
    cli.environ["OLLAMA_SIM_FAULTS"] = "start_delay:seconds=60"
    assert cli.run(*cli.up, "--wait-timeout", "2s").code == 124
    until(lambda: cli.run("status", "-q").code == 0, "the fleet answers")
    assert cli.run("down", "--now", "-q").code == 0


def test_a_fleet_that_was_killed_is_not_running_and_can_be_started_again(fleet):
    """What a killed fleet leaves behind stands in nobody's way."""
    os.kill(int((fleet.state / "lock").read_text()), signal.SIGKILL)
    until(lambda: fleet.run("status").code == 69, "the fleet is gone")
    done = fleet.run(*fleet.up, "--wait")
    assert (done.code, fleet.run("status").code) == (0, 0), done.err


def test_a_model_is_pulled_for_the_whole_fleet(fleet):
    """Each record is a line of JSON that names its model; the model is then on every instance."""
    done = fleet.run("pull", "tiny", "nosuch:1b")
    assert done.code == 1
    records = [json.loads(line) for line in done.out.splitlines()]
    assert {r["schema_version"] for r in records} == {1}
    assert [r["model"] for r in records if r.get("status") == "success"] == ["tiny"]
    assert done.err.startswith("fleet: nosuch:1b: ")
    assert all("tiny:latest" in i["stored"] for i in fleet.status()["instances"])
    assert fleet.run("pull", "-q", "tiny") == fleet.run("pull", "-q", "tiny:latest")
    assert fleet.run("pull", "-q", "tiny").out == ""


def test_a_pull_can_be_cancelled(shared):
    """Ctrl-C ends with 130 and says that nothing is lost; the fleet stops downloading."""
    with shared.running("pull", "huge") as process:
        for line in process.stdout:
            if b'"completed"' in line:
                break
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=WAIT_S)
    assert process.returncode == 130
    assert b"what was downloaded is kept" in told
    until(lambda: not shared.status()["pulls"], "the fleet has stopped downloading")


def test_restart_replaces_the_process_that_is_named_and_no_other(shared):
    """One instance has another process and is ready again; the others are as they were."""
    before = {i["name"]: i["pid"] for i in shared.status()["instances"]}
    done = shared.run("restart", "gpu-1", "-o", "json")
    assert done.code == 0
    assert json.loads(done.out) == {
        "schema_version": 1,
        "restarted": ["gpu-1"],
        "failed": [],
        "left": [],
    }
    instances = {i["name"]: i for i in shared.status()["instances"]}
    assert [name for name, pid in before.items() if instances[name]["pid"] != pid] == ["gpu-1"]
    assert (instances["gpu-1"]["phase"], instances["gpu-1"]["starts"]) == ("ready", 2)
    done = shared.run("restart", "nix")
    assert done.code == 1
    assert "nix" in done.err
    assert "gpu-0, gpu-1" in done.err


def test_logs_are_followed_until_ctrl_c(shared):
    """What an instance writes after `logs -f` has begun comes out at once."""
    with shared.running("logs", "-f", "--tail", "0", "gpu-0") as process:
        os.set_blocking(process.stdout.fileno(), False)
        # Written again and again, for we cannot see when following has begun.
        log = shared.state / "logs" / "gpu-0.log"

        def seen():
            with log.open("a") as file:
                file.write("written by the test\n")
            return process.stdout.read()

        until(lambda: b"written by the test" in (seen() or b""), "a line that was written")
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT_S) == 130


def test_completion_offers_the_instances_that_run(fleet):
    """After `fleet logs` TAB stand the instances; without a fleet nothing, and quickly."""
    words = {"_FLEET_COMPLETE": "bash_complete", "COMP_WORDS": "fleet logs gpu", "COMP_CWORD": "2"}
    names = [i["name"] for i in fleet.status()["instances"]]
    offered = [f"plain,{name}" for name in names]
    until(lambda: fleet.run(**words).out.split() == offered, "an answer that was quick enough")
    fleet.run("down", "--now")
    assert fleet.run(**words).out.split() == []


class _Terminal:
    """A terminal with a program in it: what it has shown, and keys for it."""

    def __init__(self, cli, *arguments):
        self._ours, theirs = pty.openpty()
        self.process = cli.start(
            *arguments, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
        )
        os.close(theirs)
        os.set_blocking(self._ours, False)
        self.shown = ""

    def press(self, key):
        os.write(self._ours, key.encode())

    def until_it_shows(self, pattern, timeout_s=60.0):
        """Wait until what was shown since the last call matches."""

        def look():
            with suppress(BlockingIOError, OSError):  # nothing new; or the program has left
                self.shown += os.read(self._ours, 65536).decode(errors="replace")
            return re.search(pattern, self.shown)

        end_s = time.monotonic() + timeout_s
        while not (match := look()):
            assert time.monotonic() < end_s, f"{pattern!r} is not in {self.shown[-2000:]!r}"
            time.sleep(0.05)
        self.shown = self.shown[match.end() :]

    def ends(self):
        """Wait for the end of the program, which what nobody reads would hold up; its exit code."""

        def over():
            with suppress(OSError):
                self.shown += os.read(self._ours, 65536).decode(errors="replace")
            return self.process.poll() is not None

        until(over, "the end of the program")
        return self.process.returncode

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._ours)


@pytest.fixture
def terminal(cli):
    opened = []

    def open_terminal(*arguments):
        opened.append(_Terminal(cli, *arguments))
        return opened[-1]

    cli.environ |= {"TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
    yield open_terminal
    for each in opened:
        each.close()


def test_on_a_terminal_up_shows_the_fleet_and_leaves_it_running(cli, terminal):
    """The screen follows the start; q then d gives the terminal back and the fleet goes on."""
    screen = terminal(*cli.up)
    screen.until_it_shows("gpu-1: ready")
    screen.until_it_shows("leave")
    screen.press("q")
    screen.until_it_shows(r"leave the fleet\?")
    screen.press("d")
    screen.until_it_shows(r"goes on; `fleet top` shows it")
    assert screen.ends() == 0
    assert cli.run("status").code == 0


def test_on_a_terminal_the_fleet_can_be_stopped_from_its_screen(cli, terminal):
    """Pressing q, then s, stops the fleet, and `up` returns when it is gone."""
    screen = terminal(*cli.up)
    screen.until_it_shows("leave")
    screen.press("q")
    screen.until_it_shows(r"leave the fleet\?")
    screen.press("s")
    assert screen.ends() == 0
    assert cli.run("status").code == 69


@pytest.mark.usefixtures("fleet")
def test_a_pull_on_a_terminal_has_bars(terminal):
    """Each layer has a bar with how much of it is there."""
    screen = terminal("pull", "tiny")
    screen.until_it_shows(r"tiny [0-9a-f]{12}")
    screen.until_it_shows("976.6/976.6 KiB")
    assert screen.ends() == 0


def test_top_prints_one_frame_without_a_terminal(shared):
    """Where nobody can press a key there is one frame, with every instance."""
    done = shared.run("top")
    assert done.code == 0
    assert all(name in done.out for name in ("gpu-0", "gpu-1"))
    assert "\x1b" not in done.out
    assert json.loads(shared.run("top", "-o", "json").out)["schema_version"] == 1


def test_the_benchmark_of_the_command_line_measures_each_command(cli):
    """`scripts/bench cli` gives a figure per command, of processes that took some time."""
    script = Path(__file__).parents[2] / "scripts" / "bench"
    done = subprocess.run(
        [script, "cli", "-o", "json", "--runs", "2"],
        env=cli.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in {0, 1}, done.stderr  # 1: slower than the target, on this machine
    figures = json.loads(done.stdout)["cli"]
    assert [f["command"] for f in figures] == ["python -c pass", "fleet --help", "fleet status"]
    assert all(0 < f["min_ms"] <= f["median_ms"] <= f["max_ms"] for f in figures)
