"""Becomes the program it is told to, one that does not outlive the fleet. Run as a script.

`python -I -S shim.py EXPECTED_PPID ARGV0 ARGS…`. The parent-death signal is set here, between fork
and exec, because a preexec_fn may deadlock in a parent with threads. Exits with 127 if the program
is missing and with 126 if it cannot be executed, as shells do.
"""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1
_SIGTERM = 15  # the program then ends its own children; the module signal would cost 3 ms
_IGNORED_BY_PYTHON = (13, 25)  # SIGPIPE, SIGXFSZ: an exec passes that on
_MISSING, _NOT_EXECUTABLE = 127, 126


def main(expected_ppid: int, argv: list[str]) -> int:
    """Replace this process by the program; returns an exit code where that is not possible."""
    libc = ctypes.CDLL(None)
    if sys.platform == "linux":
        libc.prctl(_PR_SET_PDEATHSIG, _SIGTERM, 0, 0, 0)
    if os.getppid() != expected_ppid:  # it died before the call above
        return 128 + _SIGTERM
    for number in _IGNORED_BY_PYTHON:
        libc.signal(number, None)
    try:
        os.execvpe(argv[0], argv, _environment())  # noqa: S606 - becoming the program is the point
    except OSError as error:
        missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        sys.stderr.write(f"[fleet] cannot execute {argv[0]}: {error.strerror}\n")
        return _MISSING if missing else _NOT_EXECUTABLE


def _environment() -> dict[bytes, bytes]:
    """The environment this process was given: in the C locale Python adds LC_CTYPE to its own."""
    try:
        with open("/proc/self/environ", "rb") as file:  # noqa: PTH123 - pathlib is slow to import
            block = file.read()
    except OSError:
        return dict(os.environb)
    pairs = (entry.partition(b"=") for entry in block.split(b"\0") if b"=" in entry)
    return {name: value for name, _, value in pairs}


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
