"""One look at a card, or at a slice of one. What the driver does not give is None."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

import psutil
import pynvml

from ollama_fleet.gpu import GpuReading
from ollama_fleet.gpu.nvml.calls import ask, memory_of
from ollama_fleet.gpu.nvml.slices import Slice

# The names of these changed in pynvml, the bits did not: by software, by hardware.
_HEAT: Final = 0x20 | 0x40


def read_card(handle: Any, uuid: str, *, integrated: bool) -> GpuReading:
    """Read a card; an integrated one uses the memory of the system. Raises NVMLError."""
    temperature_c = ask("nvmlDeviceGetTemperatureV", handle, pynvml.NVML_TEMPERATURE_GPU)
    if temperature_c is None:  # a driver, or a pynvml, from before that call
        temperature_c = ask("nvmlDeviceGetTemperature", handle, pynvml.NVML_TEMPERATURE_GPU)
    power_mw = ask("nvmlDeviceGetPowerUsage", handle)
    return GpuReading(
        uuid=uuid,
        memory_used_bytes=_system_used_bytes() if integrated else _used_bytes(handle),
        utilisation_ratio=_utilisation_ratio(handle),
        temperature_c=None if temperature_c is None else float(temperature_c),
        power_w=None if power_mw is None else power_mw / 1000,
        heat_throttled=_heat_throttled(handle),
        pids=_pids(handle),
    )


def read_slices(
    found: Mapping[str, Any], slices: Iterable[Slice], card: GpuReading
) -> tuple[GpuReading, ...]:
    """Read those slices of a card that are still there, by their UUIDs. Raises NVMLError.

    The heat is that of the card. What each draws of the card's power nobody can tell.
    """
    there = (each for each in slices if each.uuid in found)
    return tuple(_read_slice(found[each.uuid], each, card) for each in there)


def _read_slice(handle: Any, each: Slice, card: GpuReading) -> GpuReading:
    used_bytes = _used_bytes(handle)
    return replace(
        card,
        uuid=each.uuid,
        memory_used_bytes=None if used_bytes is None else used_bytes // each.sharers,
        utilisation_ratio=_utilisation_ratio(handle),
        power_w=None,
        pids=_pids(handle),
    )


def _system_used_bytes() -> int:
    """The memory of the system that a program could not have."""
    memory = psutil.virtual_memory()
    return int(memory.total - memory.available)


def _used_bytes(handle: Any) -> int | None:
    memory = memory_of(handle)
    return None if memory is None else int(memory.used)


def _utilisation_ratio(handle: Any) -> float | None:
    rates = ask("nvmlDeviceGetUtilizationRates", handle)
    return None if rates is None else rates.gpu / 100


def _pids(handle: Any) -> tuple[int, ...]:
    processes = ask("nvmlDeviceGetComputeRunningProcesses_v3", handle) or ()
    return tuple(sorted({process.pid for process in processes}))


def _heat_throttled(handle: Any) -> bool | None:
    """Whether the driver or the card itself slows it down for its heat; None if it does not say."""
    reasons = ask("nvmlDeviceGetCurrentClocksEventReasons", handle)
    if reasons is None:  # a driver, or a pynvml, from before that name
        reasons = ask("nvmlDeviceGetCurrentClocksThrottleReasons", handle)
    return None if reasons is None else bool(reasons & _HEAT)


__all__ = ["read_card", "read_slices"]
