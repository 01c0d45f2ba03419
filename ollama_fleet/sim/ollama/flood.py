"""A server that prints without end, as one with a debug level of 2 does: the fault `flood`."""

import os
import sys
import threading
import time
from typing import Final, NamedTuple

BYTES_PER_S: Final = 100_000_000
_LINE: Final = b"time=2026-01-01T00:00:00.000Z level=DEBUG msg=" + b"x" * 977 + b"\n"
_PIECE: Final = _LINE * 512


class Poured(NamedTuple):
    """How much was printed in how long, and how long the longest write of 512 KiB took."""

    printed_bytes: int
    seconds: float
    longest_write_s: float


def begin(seconds: float) -> None:
    """Print from a thread for so long, on stderr."""
    threading.Thread(target=pour, args=(seconds,), daemon=True).start()


def pour(seconds: float) -> Poured:
    """Print on stderr for so long, at BYTES_PER_S or as fast as the pipe takes it."""
    began_s = time.monotonic()
    printed_bytes, longest_s = 0, 0.0
    while (passed_s := time.monotonic() - began_s) < seconds:
        ahead_s = printed_bytes / BYTES_PER_S - passed_s
        if ahead_s > 0:
            time.sleep(ahead_s)
        before_s = time.monotonic()
        try:
            printed_bytes += os.write(sys.stderr.fileno(), _PIECE)
        except OSError:  # nobody reads any longer
            break
        longest_s = max(longest_s, time.monotonic() - before_s)
    return Poured(printed_bytes, time.monotonic() - began_s, longest_s)
