"""Becomes the program it is told to, one that does not outlive the fleet. Run as a script.

`python -I -S shim.py EXPECTED_PPID CPUS MEMORY_NODES ARGV0 ARGS…`: the CPUs it may run on and the
memory nodes it is to take from, with commas between, nothing for all. This and the parent-death
signal are set here, between fork and exec, because a preexec_fn may deadlock in a parent with
threads. Exits with 127 if the program is missing and with 126 if it cannot be executed, as shells
do.
"""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1
_SIGTERM = 15  # the program then ends its own children; the module signal would cost 3 ms
_IGNORED_BY_PYTHON = (13, 25)  # SIGPIPE, SIGXFSZ: an exec passes that on
_MISSING, _NOT_EXECUTABLE = 127, 126
# By machine the numbers of get_mempolicy and set_mempolicy, which the C library does not have.
_MEMPOLICY = {"x86_64": (239, 238), "aarch64": (236, 237)}
_MPOL_DEFAULT, _MPOL_PREFERRED, _MPOL_PREFERRED_MANY = 0, 1, 5
_NODES = 1024  # as many as the kernel can be built for


def main(expected_ppid: int, cpus: str, nodes: str, argv: list[str]) -> int:
    """Replace this process by the program; returns an exit code where that is not possible."""
    libc = ctypes.CDLL(None, use_errno=True)
    if sys.platform == "linux":
        libc.prctl(_PR_SET_PDEATHSIG, _SIGTERM, 0, 0, 0)
    if os.getppid() != expected_ppid:  # it died before the call above
        return 128 + _SIGTERM
    _bind(libc, cpus, nodes)
    for number in _IGNORED_BY_PYTHON:
        libc.signal(number, None)
    try:
        os.execvpe(argv[0], argv, _environment())  # noqa: S606 - becoming the program is the point
    except OSError as error:
        missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        sys.stderr.write(f"[fleet] cannot execute {argv[0]}: {error.strerror}\n")
        return _MISSING if missing else _NOT_EXECUTABLE


def _bind(libc: ctypes.CDLL, cpus: str, nodes: str) -> None:
    """Keep to these CPUs and to this memory, as all children then do; as far as that is allowed."""
    try:
        if cpus:
            os.sched_setaffinity(0, map(int, cpus.split(",")))
    except (AttributeError, OSError) as error:
        sys.stderr.write(f"[fleet] not bound to CPUs {cpus}: {error}\n")
    try:
        if nodes:
            _prefer(libc, [int(node) for node in nodes.split(",")])
    except OSError as error:
        sys.stderr.write(f"[fleet] not bound to memory of node {nodes}: {error}\n")


def _prefer(libc: ctypes.CDLL, nodes: list[int]) -> None:
    """Take memory from these nodes while they have some. Raises OSError.

    What an operator has set for the whole fleet, as by numactl, stays.
    """
    if os.uname().machine not in _MEMPOLICY:
        return
    get, set_ = _MEMPOLICY[os.uname().machine]
    mode = ctypes.c_int()
    _call(libc, get, ctypes.byref(mode), None, 0, None, 0)
    if mode.value == _MPOL_DEFAULT:
        mask = (ctypes.c_uint8 * (_NODES // 8))()
        for node in nodes:
            mask[node // 8] |= 1 << node % 8
        kind = _MPOL_PREFERRED if len(nodes) == 1 else _MPOL_PREFERRED_MANY
        _call(libc, set_, kind, mask, _NODES + 1)


def _call(libc: ctypes.CDLL, number: int, *arguments: object) -> None:
    wide = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    if libc.syscall(ctypes.c_long(number), *wide):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


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
    sys.exit(main(int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:]))
