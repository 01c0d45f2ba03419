"""Probes that had no answer, and what they count for: more of them if a process works."""

import asyncio
from typing import Final

from ollama_fleet.control.repair.evidence import DOUBT
from ollama_fleet.control.repair.usage import UsageMeter
from ollama_fleet.state import Instance

_WORKING: Final = 1 / DOUBT  # of a probe is what one counts while the processes work


class Silence:
    """How many probes in a row had no answer (`probes`), and what they count for (`weight`).

    A box that swaps, or whose CPUs all cut up prompts, answers late: processes that have worked
    since the probe before are given several times as many.
    """

    def __init__(self, instance: Instance) -> None:
        self._instance, self._meter = instance, UsageMeter()
        self.probes, self.weight = 0, 0.0

    def broken(self) -> None:
        """It has answered, gives tokens, or loads a model, which may take all of a disk."""
        self.probes, self.weight = 0, 0.0

    async def goes_on(self, now_s: float) -> None:
        """One more had no answer."""
        name, pid = self._instance.name, self._instance.pid
        found = await asyncio.to_thread(self._meter.read, {name: pid}, now_s)
        work = found.get(name)
        self.probes += 1
        self.weight += 1.0 if work is None or work.is_little else _WORKING
