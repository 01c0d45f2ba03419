"""A child process for each resident model, as Ollama has, so that supervisors can be tested.

Only with OLLAMA_SIM_RUNNER=1. The children sleep; they are in the server's own process group, end
with it on SIGTERM and survive it on SIGKILL.
"""

import asyncio
import os
import subprocess
from collections.abc import Callable

from ollama_fleet.sim.ollama.jobs import Event, Kind

COMMAND = ("sleep", "86400")


class Runners:
    """The children by the digest of what they serve. `died` is told of one that was killed."""

    def __init__(self, died: Callable[[str], None]) -> None:
        self._died = died
        self._children: dict[str, tuple[subprocess.Popen[bytes], int]] = {}

    def follow(self, event: Event) -> None:
        """Start or end a child with its model."""
        if event.kind is Kind.LOADED:
            child = subprocess.Popen(COMMAND, stdin=subprocess.DEVNULL)
            watch = os.pidfd_open(child.pid)
            self._children[event.text] = child, watch
            asyncio.get_running_loop().add_reader(watch, self._ended, event.text)
        elif event.kind is Kind.UNLOADED:
            self.kill(event.text)

    def kill(self, digest: str) -> None:
        """End a child on purpose; nothing if it has none."""
        if digest in self._children:
            child, watch = self._children.pop(digest)
            asyncio.get_running_loop().remove_reader(watch)
            os.close(watch)
            child.kill()
            child.wait()

    def kill_all(self) -> None:
        """End all children."""
        for digest in list(self._children):
            self.kill(digest)

    def _ended(self, digest: str) -> None:
        self.kill(digest)
        self._died(digest)
