"""What the readings of the GPUs come to, as events: one is lost, hot, or sliced anew. Pure."""

from collections.abc import Collection, Iterator, Mapping
from typing import Final

from ollama_fleet.gpu import Gpu, GpuReading, GpuSample
from ollama_fleet.state import Kind, Notice

HOT_C: Final = 90.0  # where the driver does not say whether it slows a card down for its heat
COOL_C: Final = 5.0  # so far below that a card counts as cool again
BELIEVED: Final = 2  # readings in a row: a driver that is busy may be silent for one


class GpuWatch:
    """Remembers how the GPUs were; `gpus` are those that there are to be.

    The slices of a card are as hot as it is: that is told once, of the card.
    """

    def __init__(self, gpus: Collection[Gpu]) -> None:
        self._names = {gpu.uuid: f"GPU {gpu.index}" for gpu in gpus}
        self._warm = _warm(gpus)
        self._silent = dict.fromkeys(self._names, 0)  # readings in a row that told nothing
        self._seen: set[str] = set()  # a card that never gave a reading is not lost
        self._lost: set[str] = set()
        self._hot: set[str] = set()
        self._changing: dict[str, str] = {}  # what the last reading of a card said of its slices
        self._changed: dict[str, str] = {}  # what of it is told already

    def look(self, sample: GpuSample) -> Iterator[Notice]:
        """What a round of readings says that the one before did not."""
        told = {reading.uuid: reading for reading in sample.readings if _tells(reading)}
        for uuid in self._names:
            reading = told.get(uuid)
            if reading is None:
                yield from self._silence(uuid, sample.error)
            else:
                yield from self._heard(uuid, reading)
        for reading in sample.readings:  # a card in slices is none of the fleet's GPUs
            yield from self._divided(reading)

    def _silence(self, uuid: str, error: str) -> Iterator[Notice]:
        self._silent[uuid] += 1
        if uuid in self._seen - self._lost and self._silent[uuid] >= BELIEVED:
            self._lost.add(uuid)
            yield self._told(Kind.GPU_LOST, uuid, f"gives no readings: {error or 'no reason told'}")

    def _heard(self, uuid: str, reading: GpuReading) -> Iterator[Notice]:
        self._silent[uuid] = 0
        self._seen.add(uuid)
        if uuid in self._lost:
            self._lost.discard(uuid)
            yield self._told(Kind.GPU_BACK, uuid, "gives readings again")
        if uuid in self._warm:
            yield from self._felt(uuid, reading)

    def _felt(self, uuid: str, reading: GpuReading) -> Iterator[Notice]:
        figures = {} if reading.temperature_c is None else {"temperature_c": reading.temperature_c}
        at = f"{reading.temperature_c:.0f} °C" if figures else "temperature not told"
        if uuid not in self._hot and is_hot(reading):
            self._hot.add(uuid)
            slowed = ", and is slowed down for it" if reading.heat_throttled else ""
            text = f"{self._warm[uuid]} is hot: {at}{slowed}"
            yield Notice(kind=Kind.GPU_HOT, text=text, gpu=uuid, figures=figures)
        elif uuid in self._hot and is_cool(reading):
            self._hot.discard(uuid)
            text = f"{self._warm[uuid]} is no longer hot: {at}"
            yield Notice(kind=Kind.GPU_COOL, text=text, gpu=uuid, figures=figures)

    def _divided(self, reading: GpuReading) -> Iterator[Notice]:
        """Who slices a card does one thing after another: what stands twice in a row is told."""
        uuid, now = reading.uuid, reading.changed
        before, self._changing[uuid] = self._changing.get(uuid, ""), now
        if now == before and now != self._changed.get(uuid, ""):
            self._changed[uuid] = now
            kind = Kind.GPU_CHANGED if now else Kind.GPU_RESTORED
            again = f"the card {uuid} is divided as it was when the fleet started"
            yield Notice(kind=kind, text=now or again, gpu=uuid)

    def _told(self, kind: Kind, uuid: str, text: str) -> Notice:
        return Notice(kind=kind, text=f"{self._names[uuid]} {text}", gpu=uuid)


def _warm(gpus: Collection[Gpu]) -> Mapping[str, str]:
    """The GPUs whose heat is told, and as whose: for several slices the first speaks for all."""
    cards: dict[str, list[Gpu]] = {}
    for gpu in gpus:
        cards.setdefault(gpu.parent_uuid or gpu.uuid, []).append(gpu)
    return {
        first.uuid: f"the card of GPUs {', '.join(str(g.index) for g in (first, *more))}"
        if more
        else f"GPU {first.index}"
        for first, *more in cards.values()
    }


def is_hot(reading: GpuReading) -> bool:
    """Whether the driver slows it down for its heat; where it does not say, by its temperature."""
    if reading.heat_throttled is not None:
        return reading.heat_throttled
    return reading.temperature_c is not None and reading.temperature_c >= HOT_C


def is_cool(reading: GpuReading) -> bool:
    """Whether it is not, by some margin."""
    if reading.heat_throttled is not None:
        return not reading.heat_throttled
    return reading.temperature_c is not None and reading.temperature_c <= HOT_C - COOL_C


def _tells(reading: GpuReading) -> bool:
    """A card that cannot be read has a reading without a figure."""
    return reading.memory_used_bytes is not None or reading.temperature_c is not None
