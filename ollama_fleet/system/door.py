"""Where a running fleet is asked if there are no Unix sockets for Python, as on Windows: its door.

A file where the socket would be names a port of loopback, which everybody on the machine can reach,
and the secret that whoever asks there must bring. So whoever can read the file may ask: in a user's
own folder on Windows that is this user, as it is with a socket of mode 0600.
"""

import json
import os
import socket
from pathlib import Path
from typing import NamedTuple

LOOPBACK = "127.0.0.1"


class Door(NamedTuple):
    """A port of loopback, and what opens it."""

    port: int
    secret: str

    @property
    def headers(self) -> dict[str, str]:
        """What each request must bring."""
        return {"Authorization": f"Bearer {self.secret}"}


def has_unix_sockets() -> bool:
    """Whether a fleet can be asked through a Unix socket instead."""
    return hasattr(socket, "AF_UNIX")


def put_up(path: Path, door: Door) -> None:
    """Write the file, whole or not at all, for this user alone. Raises OSError."""
    made = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        json.dump(door._asdict(), file)
    made.replace(path)


def find(path: Path) -> Door:
    """The door of the fleet that listens, or did when it was killed.

    Raises FileNotFoundError where none is told, PermissionError where it is another user's.
    """
    try:
        told = json.loads(path.read_text("ascii"))
        return Door(int(told["port"]), str(told["secret"]))
    except (ValueError, KeyError, TypeError):
        raise FileNotFoundError(path) from None
