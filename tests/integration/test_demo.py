"""scripts/demo as a newcomer runs it, and scripts/setup, which it begins with."""

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "scripts" / "demo"
SETUP = ROOT / "scripts" / "setup"


def environment(folder):
    """No Ollama, no GPUs, no configuration: what every machine can do."""
    return {"PATH": "/usr/bin:/bin", "HOME": str(folder), "TMPDIR": str(folder)} | {
        "PYTHON": sys.executable
    }


@pytest.fixture
def folder():
    """A temporary directory with a short name: the path of a Unix socket has little room."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture
def demo(folder):
    """Start the demo; whatever it should have stopped itself is stopped at the end."""
    started = []

    def start(*arguments, **streams):
        pipes = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
        }
        started.append(
            subprocess.Popen(
                [DEMO, *arguments],
                cwd=folder,
                env=environment(folder),
                text=True,
                start_new_session=True,
                **{**pipes, **streams},
            )
        )
        return started[-1]

    yield start
    left = [*processes_of(folder)]
    for process in left:
        process.kill()
    for process in started:
        process.kill()
        process.communicate()
    assert not left, "the demo left processes behind"
    assert [*folder.glob("fleet-demo-*")] == []


def processes_of(folder):
    mark = f"{folder}/fleet-demo-"
    for process in psutil.process_iter():
        try:
            environ = process.environ()
        except (psutil.Error, OSError):
            continue
        if any(
            environ.get(name, "").startswith(mark) for name in ("FLEET_STATE_DIR", "OLLAMA_MODELS")
        ):
            yield process


def test_a_demo_serves_a_load_without_errors_and_reports_it(demo):
    process = demo("--seconds", "6", "--no-tui", "-o", "json")
    printed, said = process.communicate(timeout=150)
    assert process.returncode == 0, said
    report = json.loads(printed)
    assert list(report) == [
        "requests", "errors", "tokens", "ttft_ms", "latency_ms", "instances", "simulated"
    ]  # fmt: skip
    assert report["simulated"] is True
    assert report["errors"] == 0
    assert report["requests"] >= 10
    assert report["tokens"] > report["requests"]
    for times in (report["ttft_ms"], report["latency_ms"]):
        assert 0 < times["p50"] <= times["p99"]
    assert len(report["instances"]) >= 2
    assert sum(i["requests"] for i in report["instances"]) == report["requests"]
    assert sum(i["share"] for i in report["instances"]) == pytest.approx(1, abs=0.001)
    assert "a simulated fleet" in said
    assert "setup:" not in said, "all is there"


def test_on_a_terminal_the_dashboard_is_shown_while_the_load_runs(demo):
    """Then the terminal is given back for the summary."""
    shown = b""
    for seconds in (3, 15, 45):  # on a slow machine the load may end before the first picture
        before, shown, after = on_a_terminal(demo, seconds)
        assert b"clients ask" in before
        assert b", 0 errors, " in after
        if b"gpu-3" in shown:
            break
    assert b"SIMULATED" in shown
    assert b"gpu-3" in shown
    assert b"errors" not in shown


def on_a_terminal(demo, seconds):
    """What a demo writes before the dashboard is there, with it, and after it."""
    keyboard, screen = os.openpty()
    fcntl.ioctl(screen, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = demo("--seconds", str(seconds), stdin=screen, stdout=screen, stderr=screen)
    os.close(screen)
    output = b""
    with contextlib.suppress(OSError):  # what the end of a pseudo-terminal reads as
        while piece := os.read(keyboard, 65536):
            output += piece
    os.close(keyboard)
    assert process.wait() == 0, output.decode(errors="replace")
    before, _, rest = output.partition(b"\x1b[?1049h")
    shown, _, after = rest.partition(b"\x1b[?1049l")
    return before, shown, after or before


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"]
)
@pytest.mark.parametrize("when", ["a simulated fleet", "clients ask"])
def test_a_demo_that_is_ended_stops_its_fleet(demo, number, code, when):
    """At any time: while the fleet starts, and under load."""
    process = demo("--seconds", "60", "--no-tui")
    said = line = ""
    while when not in line:
        line = process.stderr.readline()
        said += line
        assert line, f"the demo ended too early: {said}"
    process.send_signal(number)
    process.communicate(timeout=120)
    assert process.returncode == code


def test_nonsense_is_refused_before_anything_starts(demo):
    process = demo("--seconds", "-1")
    _, said = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "above 0" in said


# -- what the README begins with -------------------------------------------------------------------


def test_the_readme_begins_with_two_commands_that_can_be_typed():
    """Each beside what it does: a test of this file says that it sets everything up."""
    readme = (ROOT / "README.md").read_text()
    first = re.search(r"^```sh\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    assert first is not None
    lines = dict(re.split(r" +# ", line) for line in first[1].splitlines())
    assert list(lines) == ["scripts/demo", "scripts/test"]
    assert all(does.startswith("sets everything up and ") for does in lines.values())
    assert all(os.access(ROOT / path, os.X_OK) for path in lines)


@pytest.mark.parametrize("command", ["demo", "test"])
def test_in_a_bare_clone_each_of_them_says_what_takes_so_long_before_all_else(clone, command):
    """And goes no further where that fails, from whichever folder it was called."""
    shutil.copy(ROOT / "scripts" / command, clone / "scripts")
    python = clone / "python"
    python.write_text(f'#!/bin/sh\n[ "$1" = -m ] && exit 1\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    done = subprocess.run(
        [clone / "scripts" / command],
        cwd="/",
        env={"PATH": os.environ["PATH"], "PYTHON": str(python)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.splitlines() == [
        "setup: installing into .venv, once; this takes a minute",
        "setup: no virtual environment; on Debian and Ubuntu: apt install python3-venv",
    ]
    assert (done.returncode, done.stdout) == (1, "")


# -- setup -----------------------------------------------------------------------------------------


@pytest.fixture
def clone(tmp_path):
    """A bare clone whose virtual environment is up to date as far as setup can see."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(SETUP, tmp_path / "scripts")
    (tmp_path / "requirements.lock").write_text("nothing==1.0 --hash=sha256:00\n")
    return tmp_path


def set_up(clone, python=sys.executable):
    return subprocess.run(
        [clone / "scripts" / "setup"],
        env={"PATH": os.environ["PATH"], "PYTHON": str(python), "PIP_NO_INDEX": "1"},
        capture_output=True,
        text=True,
        timeout=170,  # most of it is the making of a virtual environment
        check=False,
    )


def test_setup_says_nothing_and_does_nothing_when_all_is_there():
    """scripts/test and scripts/check run on what it has made."""
    assert (ROOT / ".venv" / "requirements.stamp").exists(), "run scripts/setup once"
    done = set_up(ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_setup_that_failed_is_not_taken_for_done(clone):
    """Without the packages it fails, and a stamp is left by success only.

    Before that it says what takes so long, though nobody sits at a terminal.
    """
    done = set_up(clone)
    assert done.stderr.startswith("setup: installing into .venv, once; this takes a minute\n")
    assert done.returncode != 0
    assert "nothing" in done.stderr
    assert not (clone / ".venv" / "requirements.stamp").exists()


def test_setup_wants_a_python_that_is_new_enough(clone):
    old = clone / "python"
    old.write_text(
        f"#!/bin/sh\n{sys.executable} -c 'import sys; sys.version_info = (3, 10, 4);"
        ' sys.argv = ["-", "requirements.lock"]; exec(sys.stdin.read())\'\n'
    )
    old.chmod(0o755)
    done = set_up(clone, old)
    assert done.returncode == 1
    assert "needs Python 3.11 or newer, this is 3.10" in done.stderr
    assert not (clone / ".venv").exists()


def test_setup_names_a_python_that_is_missing(clone):
    done = set_up(clone, clone / "nowhere")
    assert done.returncode == 1
    assert "nowhere was not found" in done.stderr
