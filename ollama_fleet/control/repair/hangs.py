"""Looks at the instances, and has those repaired that hang."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Final

from ollama_fleet.config import RepairConfig
from ollama_fleet.control.repair.evidence import IDLE_GPU_RATIO, Look, Stillness, Work
from ollama_fleet.control.repair.mending import Mending
from ollama_fleet.control.repair.signs import Signs
from ollama_fleet.control.repair.steps import at_work
from ollama_fleet.control.repair.tokens import TokenProbes
from ollama_fleet.gpu import GpuSample
from ollama_fleet.state import Health, Instance, Phase, State

LOOK_S: Final = 2.0

ReadWork = Callable[[Mapping[str, int], float], Awaitable[Mapping[str, Work]]]
"""Reads what process groups have done since the last time: by name, given their leaders' pids."""


class Hangs:
    """`look` is one round. External instances are never judged: nothing is known of their work.

    Nor are simulated ones without a GPU: they take their time without using the CPU.
    """

    def __init__(
        self,
        state: State,
        settings: RepairConfig,
        mending: Mending,
        signs: Signs,
        probes: TokenProbes | None,
        *,
        clock: Callable[[], float],
        read_work: ReadWork,
        simulated: bool,
    ) -> None:
        self._state, self._settings, self._mending = state, settings, mending
        self._signs, self._probes = signs, probes
        self._clock, self._read_work = clock, read_work
        self._simulated = simulated
        self._stillness: dict[Instance, Stillness] = {}
        self._moved: set[str] = set()  # GPUs whose utilisation has been seen above idle

    async def run(self) -> None:
        """Look, again and again, while that is wanted."""
        while True:
            await asyncio.sleep(min(LOOK_S, self._settings.hang_after_s / 4))
            if self._settings.hangs:
                await self.look()

    def retune(self, settings: RepairConfig) -> None:
        """Go by these from the next look on; what was seen before is forgotten."""
        self._settings = settings
        self._stillness.clear()

    def read(self, sample: GpuSample) -> None:
        """The GPUs have been read: a meter that has never moved may be one that never does."""
        ratios = ((r.uuid, r.utilisation_ratio) for r in sample.readings)
        self._moved.update(uuid for uuid, ratio in ratios if ratio and ratio > IDLE_GPU_RATIO)

    async def look(self) -> None:
        """Look at all of them once."""
        looks = {i: self._seen(i) for i in self._state.instances.values() if self._is_up(i)}
        suspects = {i.name: i.pid for i, look in looks.items() if self._is_suspect(i, look)}
        work = await self._read_work(suspects, self._clock()) if suspects else {}
        before, self._stillness = self._stillness, {}
        for instance, look in looks.items():
            if look.starts == instance.starts and self._is_up(instance):
                seen = replace(look, work=work.get(instance.name))
                self._judge(instance, before.get(instance, Stillness()).after(seen))

    def _is_suspect(self, instance: Instance, look: Look) -> bool:
        """Nothing has come of its busy slots since the last look: what its processes did counts."""
        stillness = self._stillness.get(instance)
        before = stillness.last if stillness is not None else None
        return bool(look.busy and instance.pid and before and before.signs == look.signs)

    def _is_up(self, instance: Instance) -> bool:
        """One that does not answer probes is its supervisor's to restart."""
        unknown = instance.spec.external or (self._simulated and not instance.spec.gpus)
        deaf = instance.health is Health.UNHEALTHY
        ready = instance.phase is Phase.READY and not deaf
        return ready and not unknown and not self._mending.under_way(instance)

    def _seen(self, instance: Instance) -> Look:
        requests = sum(
            lease.attempt is None or not lease.attempt.stalled for lease in at_work(instance)
        )
        probes = self._probes.look(instance) if self._probes is not None else 0
        rows, gpu_ratio = instance.rows, self._gpu_ratio(instance)
        return Look(
            now_s=self._clock(),
            starts=instance.starts,
            signs=self._signs.of(instance),
            busy=requests + probes,
            loading=instance.loading,
            gpu_ratio=gpu_ratio,
            in_vram=bool(rows) and all(m.vram_bytes >= m.size_bytes for m in rows),
            # Ollama may use a GPU that is none of the fleet's: by Metal, or by Vulkan.
            blind=gpu_ratio is None
            and (bool(instance.spec.gpus) or any(m.vram_bytes for m in rows)),
        )

    def _gpu_ratio(self, instance: Instance) -> float | None:
        """The utilisation of its busiest GPU; None where one of them gives no reading to rely on.

        It has one with the first that has moved: two that share the work need not both.
        """
        uuids = {gpu.uuid for gpu in instance.spec.gpus}
        readings = (r.utilisation_ratio for r in self._state.gpu_sample.readings if r.uuid in uuids)
        ratios = [ratio for ratio in readings if ratio is not None]
        known = len(ratios) == len(uuids) and not self._moved.isdisjoint(uuids)
        return max(ratios) if known else None

    def _judge(self, instance: Instance, stillness: Stillness) -> None:
        if not stillness.hangs(self._settings.hang_after_s):
            self._stillness[instance] = stillness
            return
        if self._probes is not None:
            self._probes.leave(instance)
        self._mending.hang(instance, stillness.told)
