"""Ports of this machine: free ones to draw, and who listens on those that are taken."""

import errno
import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from ollama_fleet.errors import PortTaken
from ollama_fleet.system.locks import lock

if TYPE_CHECKING:  # pydantic
    from ollama_fleet.config import Address


@dataclass(frozen=True, slots=True)
class Listener:
    """A process that listens on a port; what we are not allowed to see is 0 and empty."""

    pid: int = 0
    command: str = ""

    def __str__(self) -> str:
        if not self.pid:
            return "a process that we may not see"
        return f"pid {self.pid} ({self.command})" if self.command else f"pid {self.pid}"


def is_free(host: str, port: int) -> bool:
    """Whether an own program could listen there now. An address that is not ours counts as free."""
    trouble = bind_trouble(host, port)
    return trouble is None or trouble.errno != errno.EADDRINUSE


def bind_trouble(host: str, port: int) -> OSError | None:
    """Why a program of ours could not listen there now; None if it could.

    A name may have several addresses: that one of them is taken says most.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        tried = [_tried(family, address) for family, _, _, _, address in found]
    except OSError as error:
        return error
    except OverflowError:
        return OSError(errno.EINVAL, f"{port} is no port")
    troubles = [trouble for trouble in tried if trouble is not None]
    taken = (trouble for trouble in troubles if trouble.errno == errno.EADDRINUSE)
    return next(taken, next(iter(troubles), None))


def _tried(family: int, address: tuple[Any, ...]) -> OSError | None:
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        if os.name == "posix":  # on Windows that would let it listen beside who does already
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            return error
    return None


def require_free(listen: "Address") -> None:
    """Raise PortTaken, naming by whom, if the fleet cannot listen there."""
    if listen.port and not is_free(listen.host, listen.port):
        raise PortTaken(
            f"{listen} is taken by {find_listener(listen.port)}",
            "stop it, or listen elsewhere: --listen 127.0.0.1:PORT; "
            "`fleet init` says what to do about Ollama's own service",
        )


class Claims:
    """Ports that are free and that no other fleet of this user has drawn; held until released.

    Between the drawing of a port and the moment its instance listens another fleet could draw it
    too. A claim is a locked file, so it ends with its holder, however that ends.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._held: dict[int, int] = {}  # descriptors by port

    def draw(self, host: str, first: int) -> Iterator[int]:
        """Yield free ports from `first` up, each claimed."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return (p for p in range(first, 65536) if is_free(host, p) and self._claim(p))

    def release(self) -> None:
        """Give all of them up."""
        self.keep(())

    def keep(self, ports: Iterable[int]) -> None:
        """Give up all but these."""
        for port in self._held.keys() - set(ports):
            os.close(self._held.pop(port))

    def _claim(self, port: int) -> bool:
        descriptor = os.open(self._directory / str(port), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            lock(descriptor)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._held[port] = descriptor
        return True


def find_listener(port: int) -> Listener:
    """Who listens on a TCP port of this machine. Looks at all processes: that takes a while."""
    try:
        sockets = psutil.net_connections(kind="tcp")
    except (psutil.Error, OSError):
        return Listener()
    listening = (s for s in sockets if s.status == psutil.CONN_LISTEN)
    pids = [s.pid for s in listening if s.laddr and s.laddr.port == port]
    pid = next((pid for pid in pids if pid), 0)
    return Listener(pid, _command(pid)) if pid else Listener()


def _command(pid: int) -> str:
    with suppress(psutil.Error, OSError):
        process = psutil.Process(pid)
        return " ".join(process.cmdline()) or process.name()
    return ""
