"""The vendors there are, and the rim around their drivers: calls that may hang, off the loop."""

import asyncio
import sys
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from queue import SimpleQueue
from typing import Generic, TypeVar

from ollama_fleet.gpu import Gpu, GpuSample, GpuSource, Inventory
from ollama_fleet.gpu.amd import AmdGpus
from ollama_fleet.gpu.metal import MetalGpu
from ollama_fleet.gpu.nvml import NvmlGpus
from ollama_fleet.units import show_duration

_Answer = TypeVar("_Answer", Inventory, GpuSample)


def sources() -> tuple[GpuSource, ...]:
    """One source per vendor, in the order in which their cards are numbered.

    No driver of these vendors is there for macOS.
    """
    if sys.platform == "darwin":
        return (MetalGpu(),)
    return NvmlGpus(), AmdGpus()


class GpuReader:
    """Inventory and readings of all sources, for an event loop.

    A source that has listed no GPU, and nothing amiss, is not read until it is asked for a list
    again: most boxes have cards of one vendor at most.
    Each source has one daemon thread of its own, for life: a driver that hangs holds up neither
    the loop, nor the other vendors, nor the end of the program, and never costs a second thread.
    While it hangs, its share of every answer is the time since which it does, at once; when it
    comes back, so do the readings. `clock` gives seconds and is read on those threads too.
    """

    def __init__(self, sources: Iterable[GpuSource], clock: Callable[[], float]) -> None:
        self._lanes = tuple(_Lane(source, clock) for source in sources)

    async def inventory(self, timeout_s: float) -> Inventory:
        """List all GPUs; a source that does not answer in time is a note. Never raises."""
        inventories = await asyncio.gather(
            *(
                lane.ask(lane.source.inventory, timeout_s, _no_list, _silent_list)
                for lane in self._lanes
            )
        )
        for lane, inventory in zip(self._lanes, inventories, strict=True):
            lane.has_none = not inventory.gpus and set(inventory.notes) <= set(inventory.remarks)
        return merge_inventories(inventories)

    async def read(self, timeout_s: float) -> GpuSample:
        """Read all GPUs once; a source that does not answer in time is an error in the sample."""
        return merge_samples(
            await asyncio.gather(
                *(
                    lane.ask(lane.source.read, timeout_s, _no_sample, _silent_sample)
                    for lane in self._lanes
                    if not lane.has_none
                )
            )
        )

    def close(self) -> None:
        """Close each source once its running call has returned. Does not wait for that."""
        for lane in self._lanes:
            lane.close()


def merge_inventories(inventories: Iterable[Inventory]) -> Inventory:
    """One list of GPUs; each vendor's are numbered on from the last one's highest index.

    Where there are GPUs, that another vendor has none is not worth a remark.
    """
    rounds = tuple(inventories)
    found = any(inventory.gpus for inventory in rounds)
    gpus: list[Gpu] = []
    notes: list[str] = []
    remarks: list[str] = []
    simulated = False
    for each in rounds:
        inventory = _without_remarks(each) if found and not each.gpus else each
        first = max((gpu.index for gpu in gpus), default=-1) + 1
        gpus.extend(replace(gpu, index=first + gpu.index) for gpu in inventory.gpus)
        notes.extend(inventory.notes)
        remarks.extend(inventory.remarks)
        simulated = simulated or inventory.simulated
    return Inventory(
        gpus=tuple(gpus),
        notes=tuple(notes),
        simulated=simulated,
        remarks=tuple(remarks),
        own_gpu=next((each.own_gpu for each in rounds if each.own_gpu), ""),
    )


def _without_remarks(inventory: Inventory) -> Inventory:
    notes = tuple(note for note in inventory.notes if note not in inventory.remarks)
    return replace(inventory, notes=notes, remarks=())


def merge_samples(samples: Iterable[GpuSample]) -> GpuSample:
    """All readings, and all errors in one line."""
    rounds = tuple(samples)
    return GpuSample(
        readings=tuple(reading for sample in rounds for reading in sample.readings),
        error="; ".join(sample.error for sample in rounds if sample.error),
        down=any(sample.down for sample in rounds),
    )


@dataclass(frozen=True, slots=True)
class _Call(Generic[_Answer]):
    """A question for a source, and where its answer goes."""

    make: Callable[[], _Answer]
    timeout_s: float
    refuse: Callable[[str], _Answer]
    answer: "Future[_Answer]"

    def run(self) -> None:
        if self.answer.set_running_or_notify_cancel():
            try:
                answer = self.make()
            except Exception as error:  # noqa: BLE001 - a source that breaks its word not to raise must not end the thread
                answer = self.refuse(f"the GPU driver failed: {type(error).__name__}: {error}")
            self.answer.set_result(answer)


class _Lane:
    """A source, and the one thread that calls it."""

    def __init__(self, source: GpuSource, clock: Callable[[], float]) -> None:
        self.source = source
        self.has_none = False  # no GPU, and nothing is amiss
        self._clock = clock
        self._calls: SimpleQueue[_Call[Inventory] | _Call[GpuSample] | None] = SimpleQueue()
        self._running: tuple[float, float] | None = None  # when the call began, its timeout
        self._closed = False
        threading.Thread(target=self._serve, name="gpu-reader", daemon=True).start()

    async def ask(
        self,
        make: Callable[[], _Answer],
        timeout_s: float,
        refuse: Callable[[str], _Answer],
        silent: Callable[[float], _Answer],
    ) -> _Answer:
        """What `make` gives on the thread; after `timeout_s` what `silent` makes of the silence."""
        if self._closed:
            return refuse("the GPU reader is closed")
        silent_s = self._silent_s()
        if silent_s is not None:
            return silent(silent_s)
        call = _Call(make, timeout_s, refuse, Future())
        self._calls.put(call)
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.wrap_future(call.answer)
        except TimeoutError:
            return silent(timeout_s)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._calls.put(None)

    def _silent_s(self) -> float | None:
        """For how long the running call has not answered; None while it has time left."""
        running = self._running
        if running is None:
            return None
        began_s, timeout_s = running
        silent_s = self._clock() - began_s
        return silent_s if silent_s >= timeout_s else None

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            self._running = (self._clock(), call.timeout_s)
            call.run()
            self._running = None
        self.source.close()


def _silence(silent_s: float) -> str:
    shown = f"{silent_s:.1f}s" if silent_s < 10 else show_duration(silent_s)
    return f"the GPU driver has not answered for {shown} (`dmesg` may say why)"


def _no_list(reason: str) -> Inventory:
    return Inventory(notes=(reason,))


def _no_sample(reason: str) -> GpuSample:
    return GpuSample(error=reason)


def _silent_list(silent_s: float) -> Inventory:
    return _no_list(_silence(silent_s))


def _silent_sample(silent_s: float) -> GpuSample:
    return GpuSample(error=_silence(silent_s), down=True)
