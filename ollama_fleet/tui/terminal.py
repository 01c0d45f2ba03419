"""The terminal as the dashboard needs it: keys one by one, and given back whatever happens."""

import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

_ENDING = (signal.SIGTERM, signal.SIGHUP)
_CONTROL_CHARACTERS = 6  # index in what tcgetattr returns
_MOST_TYPED = 256  # bytes


class Keyboard:
    """The bytes that are typed on a terminal."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def wait(self, seconds: float) -> bytes | None:
        """What is typed within that time: b"" if nothing is, None if the terminal is gone."""
        ready, _, _ = select.select([self._descriptor], [], [], max(0.0, seconds))
        if not ready:
            return b""
        try:
            return os.read(self._descriptor, _MOST_TYPED) or None
        except OSError:
            return None


@contextmanager
def keyboard(descriptor: int) -> Iterator[Keyboard]:
    """Read single keys, unechoed. Ctrl-C still interrupts; Ctrl-Z does not leave a broken screen.

    TERM and HUP end the program as an exception, so that everything is put back on the way out.
    """
    before = termios.tcgetattr(descriptor)
    handlers = {number: signal.signal(number, _end) for number in _ENDING}
    try:
        tty.setcbreak(descriptor)
        attributes = termios.tcgetattr(descriptor)
        attributes[_CONTROL_CHARACTERS][termios.VSUSP] = b"\x00"
        termios.tcsetattr(descriptor, termios.TCSANOW, attributes)
        yield Keyboard(descriptor)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        with suppress(termios.error):  # the terminal itself was closed
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _end(number: int, _frame: FrameType | None) -> None:
    """Leave by SystemExit, with the exit status a shell gives for the signal; only once."""
    for ending in _ENDING:
        signal.signal(ending, signal.SIG_IGN)
    sys.exit(128 + number)
