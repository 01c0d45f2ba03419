"""The `ollama serve` in the process table, and what this user may see of each."""

import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path, PurePath
from typing import Final

import psutil

_INTERPRETER: Final = re.compile(r"python[\d.]*|(?:ba|da|z)?sh")
_SERVE: Final = (["serve"], ["start"])


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """An `ollama serve`, as far as this user may look into it.

    `environment` is None and `listening` empty where it is another user's; `cgroup` is the path
    of its control group, `program` that of its executable, `ppid` who has started it.
    """

    pid: int
    user: str
    home: str
    environment: Mapping[str, str] | None
    listening: tuple[tuple[str, int], ...]
    cgroup: str
    program: str = ""
    ppid: int = 0


def servers(ours: Collection[int]) -> Iterator[ServerProcess]:
    """Those of nobody in `ours`, of no descendant of theirs and of no fleet."""
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):  # it ended while being looked at
            if is_server(process.cmdline()) and not _belongs(process, ours):
                yield _look(process)


def is_running(pid: int) -> bool:
    """Whether the process of that number is a server now."""
    with suppress(psutil.Error, OSError):
        return is_server(psutil.Process(pid).cmdline())
    return False


def is_server(argv: Sequence[str]) -> bool:
    """Whether a command line is `ollama serve`, itself or as a script behind its interpreter.

    Not `sudo ollama serve`: that has a child which is.
    """
    words = list(argv)
    if words and _INTERPRETER.fullmatch(PurePath(words[0]).name):
        del words[0]
    named = bool(words) and PurePath(words[0]).name.removesuffix(".exe") == "ollama"
    return named and words[1:2] in _SERVE


def is_fleet(argv: Sequence[str]) -> bool:
    """Whether a command line is `fleet up`: what that has started it looks after itself."""
    words = argv[:5]
    named = any(PurePath(word).name in {"fleet", "ollama_fleet"} for word in words)
    return named and "up" in words


def cgroup_of(text: str) -> str:
    """The path in /proc/PID/cgroup: of the unified hierarchy, else of systemd's own."""
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers in {"", "name=systemd"}:
            return path
    return ""


def own_cgroup() -> str:
    """That of this process."""
    return _cgroup(os.getpid())


def _belongs(process: psutil.Process, ours: Collection[int]) -> bool:
    parents = process.parents()
    if not {process.pid, *(parent.pid for parent in parents)}.isdisjoint(ours):
        return True
    return any(is_fleet(parent.cmdline()) for parent in parents)


def _look(process: psutil.Process) -> ServerProcess:
    environment: dict[str, str] | None = None
    with suppress(psutil.AccessDenied, OSError):
        environment = process.environ()
    listening: list[tuple[str, int]] = []
    with suppress(psutil.AccessDenied, OSError):
        listening = [
            (connection.laddr.ip, connection.laddr.port)
            for connection in process.net_connections(kind="tcp")
            if connection.status == psutil.CONN_LISTEN
        ]
    user = process.username()
    return ServerProcess(
        process.pid,
        user,
        _home(user),
        environment,
        tuple(listening),
        _cgroup(process.pid),
        _program(process),
        process.ppid(),
    )


def _program(process: psutil.Process) -> str:
    with suppress(psutil.AccessDenied, OSError):
        return process.exe()
    return ""


def _home(user: str) -> str:
    with suppress(ImportError, KeyError):  # Windows has no such file of users
        return str(import_module("pwd").getpwnam(user).pw_dir)
    return ""


def _cgroup(pid: int) -> str:
    with suppress(OSError):
        return cgroup_of(Path(f"/proc/{pid}/cgroup").read_text(errors="replace"))
    return ""
