"""Repairs under way: one at a time of each instance, in steps, until one has helped."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, Final

from ollama_fleet.config import RepairConfig
from ollama_fleet.control.leaving import until_idle
from ollama_fleet.control.repair.models import InMemory, in_memory
from ollama_fleet.control.repair.stages import Reason, Stage, Taken, recent, suffices, wait_s
from ollama_fleet.control.repair.steps import Steps
from ollama_fleet.state import Instance, Kind, Notice, Phase, State

_LOOK_S: Final = 1.0  # while a restart has to wait: whether somebody else has seen to it

log = logging.getLogger(__name__)


class Mending:
    """Begins repairs, and remembers what was done; `close` breaks them off.

    `clock` gives monotonic seconds; `drain_s` is how long requests in flight have to end before an
    instance that serves, if slowly, is restarted.
    """

    def __init__(
        self,
        state: State,
        steps: Steps,
        settings: RepairConfig,
        *,
        drain_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._state, self._steps, self._settings = state, steps, settings
        self._drain_s, self._clock = drain_s, clock
        self._past: defaultdict[tuple[Instance, Reason], tuple[Taken, ...]] = defaultdict(tuple)
        self._running: dict[Instance, asyncio.Task[None]] = {}

    def retune(self, settings: RepairConfig, *, drain_s: float) -> None:
        """Go by these from the next step on."""
        self._settings, self._drain_s = settings, drain_s
        self._steps.timeout_s = settings.step_timeout_s

    def under_way(self, instance: Instance) -> bool:
        """Whether it is being repaired."""
        return instance in self._running

    def hang(self, instance: Instance, evidence: str) -> None:
        """Begin to repair one that hangs, unless it is being repaired."""
        self._begin(instance, f"hangs: {evidence}", self._mend_hang)

    def offload(self, instance: Instance, finding: str) -> bool:
        """Begin to restart one that runs on the CPU what its GPUs have room for.

        False if it has been restarted for that of late, or while any is being repaired: it serves,
        if slowly, and where a driver's trouble has hit them all not all may be gone at once.
        """
        now_s, cooldown_s = self._clock(), self._settings.cooldown_s
        past = self._past[instance, Reason.OFFLOAD]
        if self._running or wait_s(Stage.RESTART, past, now_s, cooldown_s):
            return False
        self._begin(instance, finding, self._mend_offload)
        return True

    def leave(self, instance: Instance) -> None:
        """It is no more: a repair that is under way ends with its process."""
        for reason in Reason:
            self._past.pop((instance, reason), None)

    async def close(self) -> None:
        """Go on with none of them."""
        tasks = tuple(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(
        self,
        instance: Instance,
        why: str,
        work: Callable[[Instance], Coroutine[Any, Any, str]],
    ) -> None:
        if instance not in self._running and not self._state.stopping:
            repair = self._repair(instance, why, work)
            self._running[instance] = asyncio.create_task(repair, name=f"repair {instance.name}")

    async def _repair(
        self,
        instance: Instance,
        why: str,
        work: Callable[[Instance], Awaitable[str]],
    ) -> None:
        """Take it out of rotation meanwhile, if it is in; tell how it ended."""
        ours = instance.drain is None
        if ours:
            self._state.drain(instance, why)
        try:
            wrong = await work(instance)
        except Exception:
            log.exception("the repair of %s failed", instance.name)
            wrong = "the fleet failed at it (see its log)"
        finally:
            del self._running[instance]
            heir = self._state.instances.get(instance.name)  # itself, unless a reload replaced it
            if ours and heir is not None and heir.drain == why:
                self._state.undrain(heir)
        if self._state.stopping:
            return
        if wrong:
            self._tell(instance, Kind.INSTANCE_REPAIR_FAILED, f"could not be repaired: {wrong}")
        else:
            self._tell(instance, Kind.INSTANCE_REPAIRED, "is repaired, and gets requests again")

    # -- one that hangs -------------------------------------------------------------------------

    async def _mend_hang(self, instance: Instance) -> str:
        """Step after step; why it could not be mended, "" if it was."""
        starts, helped = instance.starts, False
        dumb: tuple[InMemory, ...] = ()
        for stage in Stage:
            if helped and self._wait_s(stage, instance):
                return ""  # it answers: better asked than left out until it may be restarted
            if not await self._turn_of(stage, instance, starts):
                return ""  # its process has ended, by whomever: the next one does not hang
            now_s = self._clock()
            past = self._past[instance, Reason.HANG]
            enough = suffices(stage, past, now_s, self._settings.cooldown_s)
            self._note(instance, Reason.HANG, stage)
            helped, dumb = await self._take(stage, instance, dumb)
            if helped and enough:
                return ""
        return "it does not answer after a restart either (`fleet logs` may say why)"

    async def _take(
        self, stage: Stage, instance: Instance, dumb: tuple[InMemory, ...]
    ) -> tuple[bool, tuple[InMemory, ...]]:
        """Take a step; whether it helped, and which models give no token."""
        match stage:
            case Stage.CANCEL:
                dumb = await self._steps.cancel(instance)
                return not dumb, dumb
            case Stage.UNLOAD:  # all, where each gives a token and it has hung again nevertheless
                models = dumb or tuple(in_memory(instance))
                return await self._steps.unload(instance, models), models
            case Stage.RESTART:
                return await self._steps.restart(instance), ()

    async def _turn_of(self, stage: Stage, instance: Instance, starts: int) -> bool:
        """Wait until that step may be taken; whether it still has to be."""
        while instance.phase is Phase.READY and instance.starts == starts:
            left_s = self._wait_s(stage, instance)
            if not left_s:
                return True
            await asyncio.sleep(min(left_s, _LOOK_S))
        return False

    def _wait_s(self, stage: Stage, instance: Instance) -> float:
        past = self._past[instance, Reason.HANG]
        return wait_s(stage, past, self._clock(), self._settings.cooldown_s)

    # -- one that runs on the CPU ---------------------------------------------------------------

    async def _mend_offload(self, instance: Instance) -> str:
        """Restart it when its requests have ended; why it could not be mended, "" if it was."""
        starts = instance.starts
        idle = await until_idle(self._state, instance, self._drain_s)
        if instance.starts != starts or instance.phase is not Phase.READY:
            return ""  # somebody else has restarted it meanwhile, or left it out
        self._past[instance, Reason.OFFLOAD] = (Taken(Stage.RESTART, self._clock()),)
        if not idle:
            left = instance.in_flight
            those = "1 request is" if left == 1 else f"{left} requests are"
            return f"{those} in flight and would take longer than the drain"
        self._note(instance, Reason.OFFLOAD, Stage.RESTART)
        return "" if await self._steps.restart(instance) else "it did not come up again"

    def _note(self, instance: Instance, reason: Reason, stage: Stage) -> None:
        """A step begins."""
        now_s = self._clock()
        past = recent(self._past[instance, reason], now_s, self._settings.cooldown_s)
        self._past[instance, reason] = (*past, Taken(stage, now_s))
        figures = {"reason": str(reason), "stage": str(stage)}
        self._tell(instance, Kind.INSTANCE_REPAIR, _STEPS[stage], figures)

    def _tell(
        self,
        instance: Instance,
        kind: Kind,
        text: str,
        figures: Mapping[str, str] | None = None,
    ) -> None:
        notice = Notice(kind=kind, text=text, instance=instance.name, figures={**(figures or {})})
        self._state.notice(notice)


_STEPS: Final = {
    Stage.CANCEL: "is being repaired:"
    " its requests are ended, elsewhere where that is still possible",
    Stage.UNLOAD: "is being repaired: its models are unloaded",
    Stage.RESTART: "is being repaired: it is restarted",
}
