"""Probes that had no answer, and what they count for: more of them if a process works."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from ollama_fleet.control.repair.evidence import DOUBT, Work
from ollama_fleet.control.repair.usage import UsageMeter
from ollama_fleet.state import Instance

_WORKING: Final = 1 / DOUBT  # of a probe is what one counts while the processes work

WorkSince = Callable[[float], Awaitable[Work | None]]
"""What an instance's processes have done since it was asked before; the time is told, in s."""


def work_of(instance: Instance) -> WorkSince:
    """By what the kernel says of them."""
    meter = UsageMeter()

    async def since(now_s: float) -> Work | None:
        found = await asyncio.to_thread(meter.read, {instance.name: instance.pid}, now_s)
        return found.get(instance.name)

    return since


class Silence:
    """How many probes in a row had no answer (`probes`), and what they count for (`weight`).

    A box that swaps, or whose CPUs all cut up prompts, answers late: processes that have worked
    since the probe before are given several times as many.
    """

    def __init__(self, work: WorkSince) -> None:
        self._work = work
        self.probes, self.weight = 0, 0.0

    def broken(self) -> None:
        """It has answered, gives tokens, or loads a model, which may take all of a disk."""
        self.probes, self.weight = 0, 0.0

    async def goes_on(self, now_s: float) -> None:
        """One more had no answer."""
        work = await self._work(now_s)
        self.probes += 1
        self.weight += 1.0 if work is None or work.is_little else _WORKING
