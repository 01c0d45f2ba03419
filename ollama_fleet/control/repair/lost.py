"""GPUs that are lost: their instances are taken out of rotation, and come back with them.

`LostGpus` is pure. A card is lost if the driver says so of it, if it reports a fault of its own, or
if the driver as a whole is gone or does not answer. A reading that fails for other reasons, such as
rights or versions, says nothing of the card: what runs on it runs on.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final

from ollama_fleet.control.repair.signs import Signs
from ollama_fleet.gpu import Gpu, GpuReading, GpuSample
from ollama_fleet.state import Instance, State

BELIEVED: Final = 2  # readings in a row
QUIET_S: Final = 300.0  # after a fault that the driver reported, without another one


class LostGpus:
    """Follows the cards of the fleet."""

    def __init__(self) -> None:
        self._missing: Counter[str] = Counter()  # readings in a row that had it as lost
        self._faults: dict[str, int] = {}  # how many were reported so far
        self._fault_s: dict[str, tuple[float, int]] = {}  # when the last one was, and its number

    def look(self, gpus: Iterable[Gpu], sample: GpuSample, now_s: float) -> dict[str, str]:
        """Which of these cards are lost by now, each with the reason, by UUID."""
        readings = {reading.uuid: reading for reading in sample.readings}
        found = {}
        for gpu in gpus:
            reading = readings.get(gpu.uuid)
            faulty = self._faulty(gpu, reading, now_s)
            why = self._why(gpu.uuid, reading, sample) or faulty
            if why:
                found[gpu.uuid] = why
        return found

    def _why(self, uuid: str, reading: GpuReading | None, sample: GpuSample) -> str:
        silent = sample.error if sample.down else ""
        why = silent if reading is None else reading.lost
        self._missing[uuid] = self._missing[uuid] + 1 if why else 0
        return why if self._missing[uuid] >= BELIEVED else ""

    def _faulty(self, gpu: Gpu, reading: GpuReading | None, now_s: float) -> str:
        uuid = gpu.uuid
        if reading is not None:
            before = self._faults.get(uuid, reading.faults)
            self._faults[uuid] = reading.faults
            if reading.faults > before:
                self._fault_s[uuid] = now_s, reading.last_fault
        at_s, number = self._fault_s.get(uuid, (-QUIET_S, 0))
        if now_s - at_s >= QUIET_S:
            return ""
        fault = f"the fault Xid {number}" if number else "an error that it could not correct"
        return f"GPU {gpu.index} has reported {fault} (see `dmesg`)"


class LostDrains:
    """Takes instances out of rotation while a GPU of theirs is lost.

    One that has given a token since the last reading works: while the driver as a whole is silent
    that is better evidence than the silence, and the last in rotation stays in it: a driver that is
    slow to tell is no reason for an outage. What somebody else has drained, or puts back into
    rotation meanwhile, is theirs. Instances go by their names: who comes in the place of one that
    is out, as a reload has it, is out for the same reason.
    """

    def __init__(
        self,
        state: State,
        *,
        clock: Callable[[], float],
        signs: Signs,
    ) -> None:
        self._state, self._clock, self._signs = state, clock, signs
        self._lost = LostGpus()
        self._drained: dict[str, str] = {}  # why, by name
        self._before: dict[str, int] = {}  # signs of life at the last reading

    def look(self, sample: GpuSample) -> None:
        """A round of readings has come."""
        own = [i for i in self._state.instances.values() if not i.spec.external and i.spec.gpus]
        gpus = {gpu.uuid: gpu for instance in own for gpu in instance.spec.gpus}
        lost = self._lost.look(gpus.values(), sample, self._clock())
        names = {instance.name for instance in own}
        for gone in self._drained.keys() - names:
            del self._drained[gone]
        for instance in own:
            reasons = [lost[gpu.uuid] for gpu in instance.spec.gpus if gpu.uuid in lost]
            works = self._has_given(instance)
            if instance.name in self._drained:
                if not reasons:
                    self._put_back(instance)
                continue
            spared = sample.down and (works or self._is_last(instance))
            if reasons and instance.drain is None and not spared:
                self._take_out(instance, reasons)

    def _is_last(self, instance: Instance) -> bool:
        others = (i for i in self._state.instances.values() if i is not instance)
        return not any(other.in_rotation for other in others)

    def _has_given(self, instance: Instance) -> bool:
        now = self._signs.of(instance)
        before, self._before[instance.name] = self._before.get(instance.name, now), now
        return now > before

    def _take_out(self, instance: Instance, reasons: list[str]) -> None:
        reason = "; ".join(dict.fromkeys(reasons))
        self._drained[instance.name] = reason
        self._state.drain(instance, reason)

    def _put_back(self, instance: Instance) -> None:
        if instance.drain == self._drained.pop(instance.name):
            self._state.undrain(instance)
