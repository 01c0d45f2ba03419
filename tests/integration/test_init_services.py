"""An Ollama that runs already, and what `fleet init` does about it: a real process each time."""

import os
import pty
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace

import pytest
from cli_fixtures import Cli
from click.testing import CliRunner
from fleet_process import until

from ollama_fleet.bench.ports import free_port
from ollama_fleet.cli.commands import fleet
from ollama_fleet.control import handover, service
from ollama_fleet.control.ports import is_free
from ollama_fleet.control.processes import find_process
from ollama_fleet.control.service import Service, find_services
from ollama_fleet.errors import FleetError

PROGRAM = """\
import sys
from ollama_fleet.sim.ollama.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def server(tmp_path):
    """A simulated Ollama that somebody runs by hand; it is known as `ollama serve`."""
    program, port = tmp_path / "ollama", free_port()
    program.write_text(PROGRAM)
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "OLLAMA_HOST": f"127.0.0.1:{port}",
        "OLLAMA_MODELS": str(tmp_path / "store"),
    }
    command = (sys.executable, str(program), "serve")
    with subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL) as process:
        until(lambda: not is_free("127.0.0.1", port), what="a server")
        yield process
        process.kill()


@pytest.fixture
def found(server, monkeypatch):
    """It, as it is found; others that run on this machine are none of the test's business."""

    def ours(**asked):
        return tuple(each for each in find_services(**asked) if each.pid == server.pid)

    monkeypatch.setattr(service, "find_services", ours)
    (only,) = ours()
    return only


def init(folder, *arguments):
    path = folder / "fleet.yaml"
    done = CliRunner().invoke(fleet, ["init", str(path), *arguments])
    return done, path


def test_a_server_is_ended_by_its_own_command_and_its_port_is_free_then(server, found):
    handover.end(found)
    assert server.wait(10) is not None
    assert is_free("127.0.0.1", found.port)


@pytest.mark.parametrize(
    ("stop", "said"),
    [
        ("false", "`false` ended with exit code 1"),
        ("no-such-program now", "No such file"),
        ("", "nobody knows how to stop pid"),
        ("true", "runs still"),
    ],
)
def test_one_that_cannot_be_ended_is_an_error_that_says_why(server, found, stop, said):
    with pytest.raises(FleetError, match=said):
        handover.end(replace(found, stop=stop), within_s=0.2)
    assert server.poll() is None


def test_one_that_is_there_again_keeps_its_port_and_is_named(server, found):
    """Whoever started it does so again, under another pid."""
    gone = replace(found, pid=2**22 + 1, stop="true")
    with pytest.raises(FleetError, match=f"port {found.port} is taken by pid {server.pid}"):
        handover.end(gone, within_s=0.2)


def test_whoever_has_the_number_of_one_that_has_ended_is_not_killed():
    """Between the look and the answer to the question as much time goes by as somebody takes."""
    with subprocess.Popen(["sleep", "60"]) as stranger:
        try:
            gone = Service(stranger.pid, "me", "127.0.0.1", free_port(), "")
            handover.end(replace(gone, stop=f"kill {stranger.pid}"))
            assert stranger.poll() is None
        finally:
            stranger.kill()


def test_a_process_with_the_number_of_the_one_that_was_ended_is_not_waited_for():
    there = find_process(os.getpid())
    service_ = Service(os.getpid(), "me", "127.0.0.1", free_port(), "")
    assert "runs still" in handover._still(service_, there)
    assert handover._still(service_, replace(there, started_ticks=0)) == ""


def test_what_the_command_prints_is_no_part_of_our_own_output(capfd):
    """`docker stop` prints an id, and ours may be a document in JSON."""
    assert handover.run_command(["echo", "0123"]) == 0
    assert capfd.readouterr() == ("", "0123\n")


def test_nothing_is_stopped_and_nothing_written_before_somebody_has_agreed(server, found, tmp_path):
    done, path = init(tmp_path, "--service", "take-over")
    assert done.exit_code == 2
    assert f"`{found.stop}` would be run: say --yes" in done.output
    assert server.poll() is None
    assert not path.exists()


def test_a_server_is_taken_over_with_its_port_and_models(server, found, tmp_path):
    done, path = init(tmp_path, "--service", "take-over", "--yes")
    assert done.exit_code == 0, done.output
    assert server.wait(10) is not None
    text = path.read_text()
    assert f'listen: "127.0.0.1:{found.port}"' in text
    assert f'\n  models: "{tmp_path}/store"' in text
    assert "To undo that: `fleet down`, then start it again" in text


def test_only_the_first_is_taken_over(server, found, tmp_path, monkeypatch):
    """Of several it is the one at Ollama's port, or the lowest: nobody else's work is stopped."""
    other = replace(found, pid=os.getpid(), port=found.port + 1, stop="false")
    monkeypatch.setattr(service, "find_services", lambda **_: (found, other))
    done, path = init(tmp_path, "--service", "take-over", "--yes")
    assert done.exit_code == 0, done.output
    assert server.wait(10) is not None
    assert "running false" not in done.output
    assert f"pid {os.getpid()}" in path.read_text()


def test_the_servers_of_a_fleet_are_not_found(tmp_path):
    """Whosever it is: it looks after them itself."""
    program = tmp_path / "ollama"
    program.write_text("import time\nprint(flush=True)\ntime.sleep(60)\n")
    parent = tmp_path / "fleet"
    command = f"[{sys.executable!r}, {str(program)!r}, 'serve']"
    parent.write_text(
        "import subprocess, time\n"
        f"child = subprocess.Popen({command}, stdout=subprocess.PIPE)\n"
        "child.stdout.readline(); print(child.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    for word, seen in (("up", False), ("top", True)):
        argv = (sys.executable, str(parent), word)
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
            pid = int(process.stdout.readline())
            try:
                assert (pid in {each.pid for each in find_services(timeout_s=0.1)}) is seen
            finally:
                os.kill(pid, signal.SIGKILL)
                process.kill()


@pytest.mark.parametrize("way", ["share", "front", "leave"])
def test_every_other_way_leaves_it_running(server, found, tmp_path, way):
    done, path = init(tmp_path, "--service", way)
    assert done.exit_code == 0, done.output
    assert server.poll() is None
    assert (f'\n  - {{ name: ollama, url: "{found.base_url}" }}' in path.read_text()) is (
        way == "front"
    )


def test_on_a_terminal_it_is_asked_what_to_do(server, tmp_path):
    """The third of the ways is to put the fleet in front."""
    cli = Cli(tmp_path)
    controller, terminal = pty.openpty()
    command = (sys.executable, "-m", "ollama_fleet", "init", "asked.yaml")
    streams = {"stdin": terminal, "stderr": terminal, "stdout": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=tmp_path, env=cli.environ, **streams) as process:
        os.close(terminal)
        os.write(controller, b"3\n")
        shown = b""
        with suppress(OSError):  # the terminal has nobody any more
            while piece := os.read(controller, 4096):
                shown += piece
        assert process.wait(20) == 0
    os.close(controller)
    assert f"(pid {server.pid})" in shown.decode()
    assert "What shall be done? [4]:" in shown.decode()
    text = (tmp_path / "asked.yaml").read_text()
    assert "\ninstances:" in text
    assert "groups: []" in text
    assert server.poll() is None
