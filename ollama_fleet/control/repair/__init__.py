"""Active health and repair: instances that hang, lose a GPU, or run on the CPU what fits on one.

`evidence` says whether an instance hangs, `stages` which step of a repair may be taken, `offload`
what a restart could bring back to the GPU, `lost` which GPUs are lost: all pure. `hangs` looks,
`mending` repairs by `steps`, `tokens` asks for a token now and then, where that is wished.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from ollama_fleet.config import RepairConfig
from ollama_fleet.control.preloads import Looker
from ollama_fleet.control.repair.evidence import DOUBT, Work
from ollama_fleet.control.repair.hangs import Hangs
from ollama_fleet.control.repair.lost import LostDrains
from ollama_fleet.control.repair.mending import Mending
from ollama_fleet.control.repair.models import Client
from ollama_fleet.control.repair.offload import Offloads
from ollama_fleet.control.repair.signs import Signs
from ollama_fleet.control.repair.steps import Restart, Steps
from ollama_fleet.control.repair.tokens import TokenProbes
from ollama_fleet.control.repair.usage import UsageMeter
from ollama_fleet.gpu import GpuSample
from ollama_fleet.state import Instance, State

__all__ = ["Repairs", "Restart"]

log = logging.getLogger(__name__)


class Repairs:
    """Watches over the fleet's own instances while it is entered.

    `restart` starts one anew by its name, `drain_s` is how long requests in flight have to end
    before one that serves is restarted, `clock` gives monotonic seconds.
    """

    def __init__(
        self,
        state: State,
        client: Callable[[Instance], Client],
        looker: Looker,
        restart: Restart,
        settings: RepairConfig,
        *,
        drain_s: float,
        clock: Callable[[], float],
        simulated: bool,
    ) -> None:
        self._state, self._settings = state, settings
        steps = Steps(client, looker, restart, timeout_s=settings.step_timeout_s)
        self._mending = Mending(state, steps, settings, drain_s=drain_s, clock=clock)
        self._signs = Signs(state, clock)
        interval_s, timeout_s = _probing(settings)
        self._probes = TokenProbes(client, self._signs, interval_s=interval_s, timeout_s=timeout_s)
        self._meter = UsageMeter()
        self._hangs = Hangs(
            state,
            settings,
            self._mending,
            self._signs,
            self._probes,
            clock=clock,
            read_work=self._read_work,
            simulated=simulated,
        )
        self._offloads = Offloads()
        self._lost = LostDrains(state, clock=clock, signs=self._signs)
        self._stack = ExitStack()
        self._task: asyncio.Task[None] | None = None

    def retune(self, settings: RepairConfig, *, drain_s: float) -> None:
        """Go by these from now on; a repair that is under way, from its next step on."""
        self._settings = settings
        self._mending.retune(settings, drain_s=drain_s)
        self._hangs.retune(settings)
        interval_s, timeout_s = _probing(settings)
        self._probes.retune(interval_s=interval_s, timeout_s=timeout_s)

    async def __aenter__(self) -> Self:
        self._stack.enter_context(self._signs)
        self._state.on_gpus.append(self._read)
        self._stack.callback(self._state.on_gpus.remove, self._read)
        for leave in (self._signs.leave, self._mending.leave, self._offloads.leave):
            self._state.on_left.append(leave)
            self._stack.callback(self._state.on_left.remove, leave)
        self._task = asyncio.create_task(self._hangs.run(), name="look for hangs")
        self._task.add_done_callback(_complain)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._stack.close()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._probes.close()
        await self._mending.close()

    async def _read_work(self, leaders: Mapping[str, int], now_s: float) -> Mapping[str, Work]:
        return await asyncio.to_thread(self._meter.read, leaders, now_s)

    def _read(self, sample: GpuSample) -> None:
        """The GPUs have been read: what is lost, and what need not run on the CPU."""
        self._lost.look(sample)
        self._hangs.read(sample)
        if self._settings.offload:
            for instance in self._state.instances.values():
                if instance.healthy and instance.drain is None and not instance.loading:
                    self._offload(instance, sample)

    def _offload(self, instance: Instance, sample: GpuSample) -> None:
        due = self._offloads.due(instance, sample)
        if due and self._mending.offload(instance, "; ".join(due.values())):
            self._offloads.tried(instance, due)


def _probing(settings: RepairConfig) -> tuple[float, float]:
    """After how long a model is asked for a token, and how long it has for that."""
    interval_s = settings.inference_probe_s
    return interval_s or math.inf, (DOUBT + 1) * settings.hang_after_s


def _complain(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("%s has stopped working", task.get_name(), exc_info=error)
