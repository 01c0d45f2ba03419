"""What this process uses of each simulated GPU, told to whoever reads the hardware directory.

One file per GPU and process, `<uuid>.<pid>.json`, replaced atomically at most twice a second
while something changes and removed at exit.
"""

import asyncio
import json
import os
import time
from contextlib import suppress
from pathlib import Path

from ollama_fleet.sim.ollama.machine import Machine
from ollama_fleet.sim.ollama.profile import Node

INTERVAL_S = 0.5


class UsageFiles:
    """The files of one server. `changed` may be called as often as you like."""

    def __init__(self, directory: Path, nodes: tuple[Node, ...], machine: Machine) -> None:
        self._machine = machine
        self._nodes = nodes
        self._memory_bytes = sum(node.memory_bytes for node in nodes)
        self._paths = {node.uuid: directory / f"{node.uuid}.{os.getpid()}.json" for node in nodes}
        self._timer: asyncio.TimerHandle | None = None
        self._again = False
        directory.mkdir(parents=True, exist_ok=True)

    def changed(self) -> None:
        """Write now, or when the interval since the last time is over."""
        if self._timer is not None:
            self._again = True
            return
        self._again = False
        self._write()
        self._timer = asyncio.get_running_loop().call_later(INTERVAL_S, self._interval_over)

    def remove(self) -> None:
        """The process ends."""
        for path in self._paths.values():
            path.unlink(missing_ok=True)

    def _interval_over(self) -> None:
        self._timer = None
        if self._again:
            self.changed()

    def _write(self) -> None:
        residents = self._machine.residents
        used_bytes = sum(resident.vram_bytes for resident in residents)
        slots = sum(resident.slots.count for resident in residents)
        for node in self._nodes:
            usage = {
                "memory_used_bytes": used_bytes * node.memory_bytes // self._memory_bytes,
                "busy_slots": self._machine.busy,
                "slots": slots,
                "pid": os.getpid(),
                "updated": time.time(),
            }
            path = self._paths[node.uuid]
            temporary = path.with_suffix(".tmp")
            with suppress(OSError):  # on a full disk the readings stand still, nothing else
                temporary.write_text(json.dumps(usage))
                temporary.replace(path)
