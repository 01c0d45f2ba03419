"""One fleet per state directory: a lock that dies with its holder."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ollama_fleet.errors import FleetHeld
from ollama_fleet.system.files import write_at
from ollama_fleet.system.locks import lock


@contextmanager
def hold(path: Path) -> Iterator[None]:
    """Hold the lock file, our pid in it. Raises FleetHeld naming who holds it already."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            lock(descriptor)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            raise FleetHeld(
                f"a fleet runs already on {path.parent}, as pid {holder}",
                "`fleet status` shows it, `fleet down` stops it; "
                "set FLEET_STATE_DIR to run a second one beside it",
            ) from None
        os.ftruncate(descriptor, 0)
        write_at(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)
