"""A server that prints without end, as one with a debug level of 2 does: the fault `flood`."""

import os
import sys
import threading
import time
from contextlib import suppress
from typing import Final

BYTES_PER_S: Final = 100_000_000
_LINE: Final = b"time=2026-01-01T00:00:00.000Z level=DEBUG msg=" + b"x" * 977 + b"\n"
_PIECE: Final = _LINE * 512


def begin(seconds: float) -> None:
    """Print from a thread for so long, at BYTES_PER_S or as fast as the pipe takes it."""
    threading.Thread(target=_print, args=(seconds,), daemon=True).start()


def _print(seconds: float) -> None:
    began_s = time.monotonic()
    printed_bytes = 0
    with suppress(OSError):  # nobody reads any longer
        while (passed_s := time.monotonic() - began_s) < seconds:
            ahead_s = printed_bytes / BYTES_PER_S - passed_s
            if ahead_s > 0:
                time.sleep(ahead_s)
            printed_bytes += os.write(sys.stderr.fileno(), _PIECE)
