"""The dashboard in a real terminal: what tmux has on its screen is what was drawn, and no more."""

import os
import shutil
import subprocess
import sys

import msgspec
import pytest
from fleet_process import until
from scene_fixtures import scene

PROGRAM = """
import sys
from pathlib import Path
from rich.console import Console
from ollama_fleet.state import Live
from ollama_fleet.tui.dashboard import Wish, run
from ollama_fleet.tui.snapshots import decode

class Source:
    def snapshot(self):
        return decode(Path(sys.argv[1]).read_bytes())

    def live(self, limit):
        return Live(0)

    def decisions(self, limit):
        return ()

    def events(self, after):
        return ()

    def log_lines(self):
        return ()

print(run(Source(), console=Console(), wish=Wish(interval_s=0.1)).name)
"""


class Tmux:
    """A tmux server of its own with one window, in which a program runs."""

    def __init__(self, folder, *command, columns, rows):
        self._socket = str(folder / "tmux")
        size = ("-x", str(columns), "-y", str(rows))
        environ = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TERM": "xterm-256color"}
        self._environ = environ
        self._run("-f", "/dev/null", "new-session", "-d", *size, *command)

    def _run(self, *arguments):
        command = ("tmux", "-u", "-S", self._socket, *arguments)
        return subprocess.run(
            command, env=self._environ, check=True, capture_output=True, text=True, timeout=20
        ).stdout

    def press(self, *keys):
        self._run("send-keys", *keys)

    def resize(self, columns, rows):
        self._run("resize-window", "-x", str(columns), "-y", str(rows))

    @property
    def lines(self):
        return self._run("capture-pane", "-p").splitlines()

    def close(self):
        subprocess.run(["tmux", "-S", self._socket, "kill-server"], check=False)


@pytest.fixture
def tmux(tmp_path):
    """Open the dashboard of a made-up fleet of 16 GPUs."""
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed")
    snapshot, program = tmp_path / "snapshot", tmp_path / "program.py"
    snapshot.write_bytes(msgspec.json.encode(scene(16).snapshot))
    program.write_text(PROGRAM)
    opened = []

    def open_tmux(columns, rows):
        command = f"{sys.executable} {program} {snapshot}; sleep 60"
        opened.append(Tmux(tmp_path, command, columns=columns, rows=rows))
        return opened[-1]

    yield open_tmux
    for each in opened:
        each.close()


def shows(terminal, text):
    until(lambda: text in "\n".join(terminal.lines), what=repr(text))


def is_whole(lines, columns, rows):
    """Whether that is one frame of the dashboard and nothing else.

    A look at the terminal may fall into the middle of a frame, so tests wait for this.
    """
    return (
        len(lines) == rows
        and len(lines[0]) == columns
        and lines[0].startswith("Ollama Fleet")
        and lines[0].endswith("up 13m20s")
        and lines[2].startswith(" 1 overview ")
        and lines[-1].startswith("q leave")
        and sum(line.startswith("Ollama Fleet") for line in lines) == 1
        and sum(line.startswith("q leave") for line in lines) == 1
    )


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (200, 60)])
def test_each_view_fills_the_terminal_and_wraps_no_line(tmux, columns, rows):
    terminal = tmux(columns, rows)
    for key, said in (("3", "LOADED"), ("2", "no request"), ("6", "nothing has"), ("1", "gpu15")):
        terminal.press(key)
        shows(terminal, said)
        until(lambda: is_whole(terminal.lines, columns, rows), what=f"all of view {key}")
    until(lambda: gpus_of(terminal) == [f"gpu{n}" for n in range(16)], what="each GPU once")


def gpus_of(terminal):
    return [line.split()[0] for line in terminal.lines if line.startswith("gpu")]


def test_a_resize_leaves_nothing_behind(tmux):
    terminal = tmux(200, 60)
    shows(terminal, "gpu15")
    for columns, rows in ((80, 24), (120, 40)):
        terminal.resize(columns, rows)
        until(lambda: is_whole(terminal.lines, columns, rows), what=f"{columns} columns")  # noqa: B023


def test_a_storm_of_resizes_ends_in_the_last_size(tmux):
    """Also where some were too small to show anything; and keys still act."""
    terminal = tmux(200, 60)
    shows(terminal, "gpu15")
    for n in range(40):
        terminal.resize(1 + 7 * n % 190, 1 + 11 * n % 60)
    terminal.resize(80, 24)
    until(lambda: is_whole(terminal.lines, 80, 24), what="its size")
    shows(terminal, "gpu15")
    terminal.press("q")
    until(lambda: terminal.lines[:1] == ["LEFT"], what="the terminal as it was")


def test_q_gives_the_terminal_back(tmux):
    terminal = tmux(80, 24)
    shows(terminal, "gpu15")
    terminal.press("q")
    until(lambda: terminal.lines[:1] == ["LEFT"], what="the terminal as it was")
    assert not any(line.startswith("gpu") for line in terminal.lines)
