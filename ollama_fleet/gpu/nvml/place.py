"""Where in the machine a card sits: its files, and the CPUs nearest to it."""

from pathlib import Path
from typing import Any, Final

from ollama_fleet.gpu import sysfs
from ollama_fleet.gpu.nvml.calls import ask

_WORD_BITS: Final = 64
_WORDS: Final = 128  # for the 8192 CPUs of the largest kernels


def device(devices: Path, bus_id: str) -> Path:
    """The kernel's folder for a card of this PCI bus id, among those of `devices`.

    NVML's `00000000:3B:00.0` is the kernel's `0000:3b:00.0`. There is none for what is no bus id.
    """
    domain, _, rest = bus_id.partition(":")
    try:
        return devices / f"{int(domain, 16):04x}:{rest.lower()}"
    except ValueError:
        return devices / "none"


def nearest_cpus(handle: Any, folder: Path) -> tuple[int, ...]:
    """The CPUs nearest to a card: NVML's, or else the kernel's. Raises NVMLError as `ask` does."""
    words = ask("nvmlDeviceGetCpuAffinity", handle, _WORDS)
    if words is None or not any(words):
        return sysfs.nearest_cpus(folder)
    return tuple(
        at * _WORD_BITS + bit
        for at, word in enumerate(words)
        for bit in range(_WORD_BITS)
        if word >> bit & 1
    )


__all__ = ["device", "nearest_cpus"]
