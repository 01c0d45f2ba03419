"""NVIDIA cards through NVML, the library of the driver; here alone is pynvml imported."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, cast

import pynvml

from ollama_fleet.gpu import Gpu, GpuReading, GpuSample, Inventory
from ollama_fleet.gpu.nvml.calls import ask, text, uuid_of
from ollama_fleet.gpu.nvml.cards import Card, Listed, listed, meet
from ollama_fleet.gpu.nvml.changes import change
from ollama_fleet.gpu.nvml.faults import Faults
from ollama_fleet.gpu.nvml.links import with_links
from ollama_fleet.gpu.nvml.readings import read_card, read_slices
from ollama_fleet.gpu.nvml.slices import handles, modes
from ollama_fleet.gpu.nvml.troubles import (
    LARGER,
    SESSION_ENDED,
    card_trouble,
    driver_trouble,
    is_missing,
)

_DEVICES: Final = Path("/sys/bus/pci/devices")
_GONE: Final = "is not there any more (`nvidia-smi -L` lists those that are)"


class NvmlGpus:
    """All NVIDIA cards that NVML shows, whatever CUDA_VISIBLE_DEVICES says: a `GpuSource`.

    Every call blocks, some for seconds on a driver in trouble, and calls come from one thread at
    a time. `devices` is the folder in which the kernel lists PCI devices.
    """

    def __init__(self, devices: Path = _DEVICES) -> None:
        self._devices = devices
        self._started = False
        self._cards: dict[int, Card] = {}  # by index, so that a lost card can still be named
        self._listed: tuple[Gpu, ...] = ()
        self._as_listed: dict[str, Card] = {}  # how the cards were then, by UUID
        self._faults = Faults()

    def inventory(self) -> Inventory:
        """List the cards in index order, on a fresh start of NVML: it counts cards only then."""
        self.close()
        self._listed, self._as_listed = (), {}
        cards: list[Listed] = []
        unlisted: list[str] = []
        try:
            count = self._start()
            driver = text(ask("nvmlSystemGetDriverVersion"))
            for index in range(count):
                card, trouble = self._list_card(index, driver)
                cards.extend(filter(None, [card]))
                unlisted.extend(filter(None, [trouble]))
            gpus = with_links(_numbered(cards, count), cards)
        except pynvml.NVMLError as error:
            self.close()
            told = (driver_trouble(error),)
            return Inventory(notes=told, remarks=told if is_missing(error) else ())
        if not count:
            unlisted.append(
                "the NVIDIA driver is loaded but finds no card (see `lspci` and `dmesg`)"
            )
        self._listed = gpus
        self._as_listed = {card.uuid: card for card in self._cards.values()}
        remarks = (*_divided(gpus, cards), *(r for card in cards for r in card.remarks))
        troubles = (*unlisted, *(t for card in cards for t in card.troubles))
        return Inventory(gpus=gpus, notes=(*remarks, *troubles), remarks=remarks)

    def read(self) -> GpuSample:
        """Read every card once, and every slice. What cannot be read is named in `error`.

        Of a card in MIG mode there is a reading, too: what it draws goes for all of its slices.
        """
        try:
            cards = [self._read_card(index) for index in range(self._start())]
        except pynvml.NVMLError as error:
            self.close()
            down = error.value == pynvml.NVML_ERROR_DRIVER_NOT_LOADED
            return GpuSample(error=driver_trouble(error), down=down)
        cards.append(self._gone(cards))
        return GpuSample(
            readings=tuple(reading for card in cards for reading in card.readings),
            error="; ".join(card.error for card in cards if card.error),
        )

    def close(self) -> None:
        """Let go of the driver; the next call takes it up again."""
        self._cards.clear()  # a later start may number the cards anew
        self._faults.close()
        if self._started:
            self._started = False
            with suppress(pynvml.NVMLError):  # a driver that has gone away has nothing to let go
                pynvml.nvmlShutdown()

    def _start(self) -> int:
        """Start NVML unless it runs; the number of cards. Raises NVMLError."""
        if not self._started:
            pynvml.nvmlInit()
            self._started = True
        return cast("int", pynvml.nvmlDeviceGetCount())

    def _met(self, index: int) -> tuple[Any, Card]:
        """The handle of a card, and what is known of it. Raises NVMLError."""
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        uuid = uuid_of(handle)
        card = self._cards.get(index)
        if card is None or card.uuid != uuid:
            card = self._cards[index] = meet(handle, uuid)
        return handle, card

    def _list_card(self, index: int, driver: str) -> tuple[Listed | None, str]:
        try:
            handle, card = self._met(index)
            return listed(handle, index, card, driver, self._devices), ""
        except pynvml.NVMLError as error:
            return None, self._trouble(index, error)

    def _read_card(self, index: int) -> GpuSample:
        """The reading of a card, and those of its slices. Raises NVMLError for what is of all."""
        try:
            handle, card = self._met(index)
            reading = read_card(handle, card.uuid, integrated=card.integrated)
            now = modes(handle)
            there = handles(handle) if card.slices or (now and now.now) else {}
            parts = read_slices(there, card.slices, reading)
        except pynvml.NVMLError as error:
            return self._unread(index, error)
        self._faults.hear(handle, card.uuid, card.slices)
        before = self._as_listed.get(card.uuid, card)
        reading = replace(reading, changed=change(_named(index, card), before, now, there))
        return GpuSample(tuple(self._with_faults(each) for each in (reading, *parts)))

    def _gone(self, cards: Iterable[GpuSample]) -> GpuSample:
        """What was listed and is no more: slices of these cards, and cards if all have a name."""
        found = {reading.uuid for card in cards for reading in card.readings}
        all_named = all(card.readings for card in cards)
        gone = [
            GpuReading(gpu.uuid, lost=f"GPU {gpu.index} ({gpu.uuid}) {_GONE}")
            for gpu in self._listed
            if gpu.uuid not in found and (all_named or gpu.parent_uuid in found)
        ]
        readings = tuple(self._with_faults(each) for each in gone)
        return GpuSample(readings, "; ".join(each.lost for each in gone))

    def _unread(self, index: int, error: pynvml.NVMLError) -> GpuSample:
        """What there is of a card that cannot be read: if it is lost, so are its slices."""
        trouble = self._trouble(index, error)
        lost = trouble if error.value in LARGER else ""
        card = self._cards.get(index)
        uuids = (card.uuid, *(each.uuid for each in card.slices)) if card else ()
        readings = (self._with_faults(GpuReading(uuid, lost=lost)) for uuid in uuids)
        return GpuSample(tuple(readings), trouble)

    def _with_faults(self, reading: GpuReading) -> GpuReading:
        fault = self._faults.of(reading.uuid)
        return replace(reading, faults=fault.count, last_fault=fault.number) if fault else reading

    def _trouble(self, index: int, error: pynvml.NVMLError) -> str:
        """What is wrong with a card, for people. Raises the error if it is about all cards."""
        if error.value in SESSION_ENDED:
            raise error
        card = self._cards.get(index)
        return card_trouble(_named(index, card) if card else f"GPU {index}", error)


def _named(index: int, card: Card) -> str:
    return f"GPU {index} ({card.uuid})"


def _numbered(cards: Iterable[Listed], count: int) -> tuple[Gpu, ...]:
    """The cards that are whole, and after them the slices of the others."""
    whole = [each.card for each in cards if each.slices is None]
    slices = [part for each in cards for part in each.slices or ()]
    return (*whole, *(replace(part, index=n) for n, part in enumerate(slices, count)))


def _divided(gpus: Iterable[Gpu], cards: Iterable[Listed]) -> Iterator[str]:
    """Which GPUs stand for a card in MIG mode."""
    for each in cards:
        numbers = [gpu.index for gpu in gpus if gpu.parent_uuid == each.card.uuid]
        if numbers:
            several = len(numbers) > 1
            stand = f"GPUs {numbers[0]} to {numbers[-1]}" if several else f"GPU {numbers[0]}"
            named = f"GPU {each.card.index} ({each.card.name})"
            yield f"{named} is in MIG mode, divided into {len(numbers)}: {stand}"


__all__ = ["NvmlGpus"]
