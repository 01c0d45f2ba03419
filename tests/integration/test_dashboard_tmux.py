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


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (200, 60)])
def test_each_view_fills_the_terminal_and_wraps_no_line(tmux, columns, rows):
    terminal = tmux(columns, rows)
    for key, said in (("3", "LOADED"), ("2", "no request"), ("6", "nothing has"), ("1", "gpu15")):
        terminal.press(key)
        shows(terminal, said)
        lines = terminal.lines
        assert len(lines) == rows
        assert lines[0].startswith("Ollama Fleet")
        assert lines[0].endswith("up 13m20s")
        assert len(lines[0]) == columns
        assert lines[2].startswith(" 1 overview ")
        assert lines[-1].startswith("q leave")
    names = [line.split()[0] for line in terminal.lines if line.startswith("gpu")]
    assert names == [f"gpu{n}" for n in range(16)]


def test_a_resize_leaves_nothing_behind(tmux):
    terminal = tmux(200, 60)
    shows(terminal, "gpu15")
    for columns, rows in ((80, 24), (120, 40)):
        terminal.resize(columns, rows)
        until(lambda: len(terminal.lines[0]) == columns, what=f"{columns} columns")  # noqa: B023
        until(lambda: terminal.lines[-1].startswith("q leave"), what="the foot")
        assert sum(line.startswith("q leave") for line in terminal.lines) == 1
        assert sum(line.startswith("Ollama Fleet") for line in terminal.lines) == 1


def test_a_storm_of_resizes_ends_in_the_last_size(tmux):
    """Also where some were too small to show anything; and keys still act."""
    terminal = tmux(200, 60)
    shows(terminal, "gpu15")
    for n in range(40):
        terminal.resize(1 + 7 * n % 190, 1 + 11 * n % 60)
    terminal.resize(80, 24)
    until(lambda: len(terminal.lines[0]) == 80 and len(terminal.lines) == 24, what="its size")
    until(lambda: terminal.lines[-1].startswith("q leave"), what="the foot")
    shows(terminal, "gpu15")
    terminal.press("q")
    until(lambda: terminal.lines[:1] == ["LEFT"], what="the terminal as it was")


def test_q_gives_the_terminal_back(tmux):
    terminal = tmux(80, 24)
    shows(terminal, "gpu15")
    terminal.press("q")
    until(lambda: terminal.lines[:1] == ["LEFT"], what="the terminal as it was")
    assert not any(line.startswith("gpu") for line in terminal.lines)
