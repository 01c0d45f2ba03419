"""One look at a card: memory, load, heat, power, and whether it is still there.

Memory is the driver's own book and is read always. The rest asks the card's firmware and would wake
a card that sleeps (older kernels do, newer ones refuse), so of such a card it is not read.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from ollama_fleet.gpu import GpuReading, sysfs
from ollama_fleet.gpu.amd.cards import DRIVER, Card, partition_modes
from ollama_fleet.gpu.amd.faults import Faults
from ollama_fleet.gpu.amd.heat import Heat
from ollama_fleet.gpu.amd.listing import Listed
from ollama_fleet.gpu.amd.processes import Holders

_ASLEEP: Final = frozenset(("suspended", "suspending"))
_SENSORS: Final = ("edge", "junction")  # the first of them is shown; Instinct has no edge
_POWERS: Final = ("power1_average", "power1_input")
_GONE: Final = b"\xff" * 4  # what the bus reads of a device that does not answer

_NOT_THERE: Final = "is not there any more (look for amdgpu lines in `dmesg`)"
_NO_DRIVER: Final = "has lost its driver (look for amdgpu lines in `dmesg`; `modprobe amdgpu`)"
_NO_WAKING: Final = "does not wake up any more (look for amdgpu lines in `dmesg`; reboot)"
_OFF_THE_BUS: Final = (
    "is lost: it has fallen off the bus"
    " (look for amdgpu lines in `dmesg`; a cold restart of the machine brings most back)"
)
_DIVIDED: Final = (
    "has been divided otherwise since the fleet was started: it was {}, and is {}"
    " (`fleet down && fleet up` plans with what is there now)"
)
_SILENT: Final = "tells nothing (look for amdgpu lines in `dmesg`; it may be in a reset)"


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen of a card, and for people what is wrong with it, empty if nothing is."""

    readings: tuple[GpuReading, ...]
    trouble: str = ""


def look(parts: Sequence[Listed], holders: Holders | None, heat: Heat, faults: Faults) -> Look:
    """Read a card once: the GPU that it is, or each of its partitions and the card itself.

    `holders` is who holds memory, None if nobody knows.
    """
    card = parts[0].card
    uuid = parts[0].gpu.parent_uuid or parts[0].gpu.uuid
    whole = GpuReading(uuid, faults=faults.so_far(card.device))
    state = sysfs.text(card.device / "power" / "runtime_status") or ""
    if gone := _gone(card.device, state):
        return _lost(parts, whole, gone)
    whole = replace(whole, memory_used_bytes=_memory_used(card, parts[0].gpu.memory_bytes))
    if state in _ASLEEP:
        return Look(_of_each(parts, replace(whole, utilisation_ratio=0.0), holders))
    whole = replace(_measured(card, whole, heat, faults), changed=_changed(parts, whole))
    if whole.utilisation_ratio is None and whole.temperature_c is None:
        if (sysfs.raw(card.device / "config") or b"").startswith(_GONE):
            return _lost(parts, whole, _OFF_THE_BUS)
        if whole.memory_used_bytes is None:
            return Look(_of_each(parts, whole, holders), _about(parts, whole, _SILENT))
    return Look(_of_each(parts, whole, holders))


def _of_each(
    parts: Sequence[Listed], whole: GpuReading, holders: Holders | None
) -> tuple[GpuReading, ...]:
    """The readings of the GPUs of a card.

    The firmware knows no partitions: each is as hot as the card, of unknown load, and the power is
    the card's. What each has of the memory is what ROCm's processes hold of it.
    """
    held = [None if holders is None else holders.get(part.node.gpu_id, {}) for part in parts]
    pids = [tuple(sorted(one or ())) for one in held]
    if not parts[0].card.is_divided:
        return (replace(whole, pids=pids[0]),)
    return (
        whole,
        *(
            replace(
                whole,
                uuid=part.gpu.uuid,
                memory_used_bytes=None if one is None else sum(one.values()),
                utilisation_ratio=None,
                power_w=None,
                pids=users,
                changed="",
            )
            for part, one, users in zip(parts, held, pids, strict=True)
        ),
    )


def _lost(parts: Sequence[Listed], whole: GpuReading, why: str) -> Look:
    named = _about(parts, whole, why)
    lost = replace(whole, lost=named)
    uuids = dict.fromkeys((whole.uuid, *(part.gpu.uuid for part in parts)))
    return Look(tuple(replace(lost, uuid=uuid) for uuid in uuids), named)


def _about(parts: Sequence[Listed], whole: GpuReading, what: str) -> str:
    card = parts[0].card
    return f"the AMD card at {card.address} ({whole.uuid}) {what}"


def _changed(parts: Sequence[Listed], whole: GpuReading) -> str:
    """What people are to be told of partitions that are not those that were listed."""
    before, now = parts[0].card.modes, partition_modes(parts[0].card.device)
    known = [(was, mode) for was, mode in zip(before, now, strict=True) if was and mode]
    if all(was == mode for was, mode in known):
        return ""
    shown = (", ".join(modes) for modes in zip(*known, strict=True))
    return _about(parts, whole, _DIVIDED.format(*shown))


def _gone(device: Path, state: str) -> str:
    """Why nothing can run on a card any more, by what the kernel says without asking it."""
    if not sysfs.exists(device):
        return _NOT_THERE
    if sysfs.target(device / "driver") != DRIVER:
        return _NO_DRIVER
    return _NO_WAKING if state == "error" else ""


def _memory_used(card: Card, memory_bytes: int) -> int | None:
    """A card that works in the system's memory has its part in the book of what it borrows."""
    borrows = card.is_integrated and memory_bytes > card.vram_bytes
    used = sysfs.number(card.device / f"mem_info_{'gtt' if borrows else 'vram'}_used")
    return used if used is not None and used >= 0 else None


def _measured(card: Card, reading: GpuReading, heat: Heat, faults: Faults) -> GpuReading:
    """The reading with what the firmware tells."""
    sensors = _sensors(card.device)
    powers = (sysfs.number(sensors / name) for name in _POWERS)
    power_uw = next((power for power in powers if power is not None and power >= 0), None)
    return replace(
        reading,
        utilisation_ratio=_load(card.device),
        temperature_c=_temperature_c(sensors),
        power_w=None if power_uw is None else power_uw / 1e6,
        heat_throttled=heat.throttles(card.device),
        faults=faults.of(card.device),
    )


def _load(device: Path) -> float | None:
    percent = sysfs.number(device / "gpu_busy_percent")
    return percent / 100 if percent is not None and 0 <= percent <= 100 else None


def _sensors(device: Path) -> Path:
    folder = device / "hwmon"
    return folder / next(iter(sysfs.names(folder)), "")


def _temperature_c(sensors: Path) -> float | None:
    """That of the edge of the chip, else of its hottest place, else the first there is."""
    inputs = [name for name in sysfs.names(sensors) if name.startswith("temp")]
    labels = {
        sysfs.text(sensors / name): name.removesuffix("_label")
        for name in inputs
        if name.endswith("_label")
    }
    chosen = next((labels[label] for label in _SENSORS if label in labels), "temp1")
    thousandths = sysfs.number(sensors / f"{chosen}_input")
    return None if thousandths is None else thousandths / 1000
