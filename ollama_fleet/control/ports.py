"""Who listens on a port of this machine, for errors that name the culprit."""

import errno
import socket
from contextlib import suppress
from dataclasses import dataclass

import psutil


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
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.errno != errno.EADDRINUSE
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
