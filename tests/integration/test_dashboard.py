"""The dashboard on a terminal of its own: keys, size, a fleet that goes away, and every way out."""

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from dataclasses import replace

import msgspec
import psutil
import pytest
from fleet_process import until
from snapshot_fixtures import fleet

PROGRAM = """
import contextlib, fcntl, sys, termios
from pathlib import Path
from rich.console import Console
from ollama_fleet.errors import NotRunning
from ollama_fleet.state import Live
from ollama_fleet.tui.dashboard import Wish, run
from ollama_fleet.tui.snapshots import decode

folder = Path(sys.argv[1])
with contextlib.suppress(OSError):  # as a terminal emulator does for what it starts
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)

class Source:
    def snapshot(self):
        if (folder / "bug").exists():
            raise RuntimeError("a bug")
        try:
            return decode((folder / "snapshot").read_bytes())
        except FileNotFoundError:
            raise NotRunning("no fleet is running") from None

    def live(self, limit):
        return Live(0)

stop = (lambda: print("IT WAS STOPPED")) if "can-stop" in sys.argv else None
wish = Wish(once="once" in sys.argv, interval_s=0.05)
print(run(Source(), console=Console(), wish=wish, stop=stop).name)
"""
FLEET = fleet(now_s=100.0, started_s=40.0)
ENTER, LEAVE = b"\x1b[?1049h", b"\x1b[?1049l"
HIDE, SHOW = b"\x1b[?25l", b"\x1b[?25h"


class Terminal:
    """The dashboard as a process on a pseudo-terminal, and the fleet it is told of."""

    def __init__(self, folder, *arguments, columns=80, rows=24, **environment):
        self.folder = folder
        self.tell(FLEET)
        self.keyboard, screen = os.openpty()
        self.resize(columns, rows)
        self.before = termios.tcgetattr(screen)
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(folder), *arguments],
            stdin=screen,
            stdout=screen,
            stderr=screen,
            env={"PATH": os.environ["PATH"], "TERM": "xterm", "PYTHONUTF8": "1", **environment},
            start_new_session=True,
        )
        self.screen = screen
        self.output = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        for descriptor in (self.keyboard, self.screen):
            if descriptor >= 0:
                os.close(descriptor)

    def tell(self, snapshot):
        """What the fleet says from now on; None and it is not there."""
        path = self.folder / "snapshot"
        if snapshot is None:
            path.unlink()
        else:
            path.with_suffix(".new").write_bytes(msgspec.json.encode(snapshot))
            path.with_suffix(".new").replace(path)

    def type(self, keys):
        os.write(self.keyboard, keys.encode())

    def resize(self, columns, rows):
        fcntl.ioctl(self.keyboard, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self):
        while select.select([self.keyboard], [], [], 0)[0]:
            self.output += os.read(self.keyboard, 65536)
        return self.output

    @property
    def lines(self):
        """What is on the screen now, as all that was written has put it there."""
        columns, rows = self.size
        cells = cells_of(self.read().decode(errors="replace"))
        return ["".join(cells.get((x, y), " ") for x in range(columns)) for y in range(rows)]

    @property
    def size(self):
        packed = fcntl.ioctl(self.keyboard, termios.TIOCGWINSZ, bytes(8))
        rows, columns, _, _ = struct.unpack("HHHH", packed)
        return columns, rows

    @property
    def text(self):
        return "\n".join(self.lines)

    def shows(self, text, *, without=None):
        """Wait until the screen has this text and not the other: a frame comes in pieces."""
        until(
            lambda: text in (shown := self.text) and (without is None or without not in shown),
            what=f"{text!r} without {without!r}",
        )

    def ends(self):
        """Wait for the end, reading what it writes; its exit code."""
        until(lambda: (self.read(), self.process.poll() is not None)[1], what="the end")
        self.read()
        return self.process.returncode

    def left_as_it_was(self):
        """The screen and the cursor are back, and the terminal's modes."""
        assert self.output.count(ENTER) == self.output.count(LEAVE) == 1
        assert self.output.rindex(LEAVE) > self.output.rindex(HIDE)
        assert self.output.rindex(SHOW) > self.output.rindex(HIDE)
        assert termios.tcgetattr(self.screen) == self.before
        return True

    @property
    def last_words(self):
        return self.output[self.output.rindex(LEAVE) :].decode()


SEQUENCE = re.compile(r"\x1b\[([0-?]*)[ -/]*([@-~])|\x1b.|([^\x1b\r\n]+)|(\n)|\r")


def cells_of(written):
    """The characters of a screen by column and line: cursor moves, line ends and text."""
    cells, x, y = {}, 0, 0
    for place, kind, text, line_end in SEQUENCE.findall(written):
        if kind == "H":
            row, _, column = place.partition(";")
            x, y = int(column or 1) - 1, int(row or 1) - 1
        elif line_end:
            x, y = 0, y + 1
        for character in text:
            cells[x, y] = character
            x += 1
    return cells


def test_q_leaves_a_fleet_that_it_may_not_stop(tmp_path):
    with Terminal(tmp_path) as terminal:
        terminal.shows("q leave")
        terminal.type("q")
        assert terminal.ends() == 0
        assert terminal.left_as_it_was()
        assert "LEFT" in terminal.last_words


@pytest.mark.parametrize(
    ("answer", "outcome", "stopped"), [("d", "LEFT", False), ("s", "STOPPED", True)]
)
def test_q_asks_where_the_fleet_can_be_stopped(tmp_path, answer, outcome, stopped):
    """`stop` is called once the terminal is back, so that what it says can be read."""
    with Terminal(tmp_path, "can-stop") as terminal:
        terminal.shows("q leave")
        terminal.type("q")
        terminal.shows("s stop the fleet")
        terminal.type("\x1b")
        terminal.shows("q leave")
        terminal.type("q")
        terminal.shows("s stop the fleet")
        terminal.type(answer)
        assert terminal.ends() == 0
        assert terminal.left_as_it_was()
        assert outcome in terminal.last_words
        assert ("IT WAS STOPPED" in terminal.last_words) is stopped
        assert terminal.output.count(b"IT WAS STOPPED") == int(stopped)


def test_ctrl_c_is_q(tmp_path):
    with Terminal(tmp_path, "can-stop") as terminal:
        terminal.shows("q leave")
        terminal.type("\x03")
        terminal.shows("s stop the fleet")
        terminal.type("\x03")
        assert terminal.ends() == 0
        assert terminal.left_as_it_was()
        assert "LEFT" in terminal.last_words


def test_an_interrupt_from_elsewhere_is_ctrl_c(tmp_path):
    with Terminal(tmp_path, "can-stop") as terminal:
        terminal.shows("q leave")
        terminal.process.send_signal(signal.SIGINT)
        terminal.shows("s stop the fleet")
        terminal.process.send_signal(signal.SIGINT)
        assert terminal.ends() == 0
        assert terminal.left_as_it_was()
        assert "LEFT" in terminal.last_words


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_with_the_terminal_as_it_was(tmp_path, number):
    with Terminal(tmp_path) as terminal:
        terminal.shows("q leave")
        terminal.process.send_signal(number)
        assert terminal.ends() == 128 + number
        assert terminal.left_as_it_was()


def test_a_bug_is_told_on_the_terminal_as_it_was(tmp_path):
    with Terminal(tmp_path) as terminal:
        terminal.shows("q leave")
        (tmp_path / "bug").touch()
        assert terminal.ends() == 1
        assert terminal.left_as_it_was()
        assert "RuntimeError: a bug" in terminal.last_words


def test_keys_come_one_by_one_and_ctrl_z_does_not_leave_a_broken_screen(tmp_path):
    with Terminal(tmp_path) as terminal:
        terminal.shows("q leave")
        modes = termios.tcgetattr(terminal.screen)
        assert not modes[3] & (termios.ICANON | termios.ECHO | termios.ISIG)
        terminal.type("\x1a?")
        terminal.shows("times it was started")
        assert psutil.Process(terminal.process.pid).status() != psutil.STATUS_STOPPED


def test_a_fleet_that_goes_away_is_told_and_waited_for(tmp_path):
    with Terminal(tmp_path) as terminal:
        terminal.shows("up 1m00s")
        terminal.tell(None)
        terminal.shows("waiting for it: no fleet is running")
        terminal.tell(replace(FLEET, started_s=95.0))
        terminal.shows("up 5s", without="waiting for it")


def test_the_screen_follows_the_size_of_the_terminal(tmp_path):
    with Terminal(tmp_path) as terminal:
        for columns, rows in ((120, 30), (40, 10), (80, 24)):
            terminal.resize(columns, rows)
            until(lambda: terminal.lines[-1].startswith("q leave"), what="the foot")
            until(lambda: terminal.lines[0].rstrip().endswith("1m00s"), what="the head")
            assert len(terminal.lines) == rows


def test_space_holds_the_screen_still(tmp_path):
    with Terminal(tmp_path) as terminal:
        terminal.shows("least_conn")
        terminal.type(" ")
        terminal.shows("PAUSED")
        terminal.tell(replace(FLEET, strategy="adaptive"))
        terminal.type("?")
        terminal.shows("times it was started")
        assert "adaptive" not in terminal.text
        terminal.type("? ")
        terminal.shows("adaptive")


def test_a_key_that_is_no_utf_8_does_not_end_it(tmp_path):
    """As from a terminal of another alphabet: the screen begins anew with the view as it was."""
    with Terminal(tmp_path) as terminal:
        terminal.shows("q leave")
        terminal.type("3")
        terminal.shows("no instance has a model")
        os.write(terminal.keyboard, b"\xff\xe9")
        until(lambda: terminal.read().count(ENTER) == 2, what="a new screen")
        until(lambda: b" leave" in terminal.read().rpartition(ENTER)[2], what="its foot")
        terminal.shows("no instance has a model")
        terminal.type("q")
        assert terminal.ends() == 0
        assert "LEFT" in terminal.last_words
        assert "Error" not in terminal.output.decode()


def test_help_and_back(tmp_path):
    with Terminal(tmp_path) as terminal:
        terminal.shows("q leave")
        terminal.type("?")
        terminal.shows("times it was started")
        terminal.type("?")
        terminal.shows("space pause", without="times it was started")


def test_a_terminal_that_is_closed_ends_it(tmp_path):
    with Terminal(tmp_path) as terminal:
        terminal.shows("q leave")
        os.close(terminal.screen)
        os.close(terminal.keyboard)
        terminal.screen = terminal.keyboard = -1
        until(lambda: terminal.process.poll() is not None, what="the end")


def test_a_terminal_without_unicode_gets_ascii_only(tmp_path):
    ascii_only = {"PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii", "PYTHONCOERCECLOCALE": "0"}
    with Terminal(tmp_path, LC_ALL="C", **ascii_only) as terminal:
        terminal.shows("6 events -----")
        terminal.type("q")
        assert terminal.ends() == 0
        assert terminal.output.isascii()


def piped(folder, *arguments):
    (folder / "snapshot").write_bytes(msgspec.json.encode(FLEET))
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={"PATH": os.environ["PATH"], "PYTHONUTF8": "1", "TERM": "xterm"},
    ).stdout


def test_without_a_terminal_one_page_is_printed_without_escapes(tmp_path):
    page = piped(tmp_path)
    assert page.startswith("Ollama Fleet")
    assert page.endswith("PRINTED\n")
    assert "\x1b" not in page
    assert "q leave" not in page


def test_once_prints_one_page_on_a_terminal_too(tmp_path):
    with Terminal(tmp_path, "once") as terminal:
        assert terminal.ends() == 0
        assert ENTER not in terminal.output
        assert terminal.output.count(b"Ollama Fleet") == 1
        assert b"PRINTED" in terminal.output


def test_it_costs_little(tmp_path):
    """3 % of a core at two frames a second: 30 % at the twenty that it draws here."""
    with Terminal(tmp_path) as terminal:
        terminal.shows("q leave")
        start_s, used_s = time.monotonic(), cpu_s(terminal.process.pid)
        until(lambda: (terminal.read(), time.monotonic() - start_s > 2)[1], what="2 s")
        spent = (cpu_s(terminal.process.pid) - used_s) / (time.monotonic() - start_s)
    assert spent < 0.3


def cpu_s(pid):
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system
