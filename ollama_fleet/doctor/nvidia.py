"""Judgements on NVIDIA's cards: whether the Ollama that is to use them can. Pure."""

from collections.abc import Iterator
from typing import Final

from ollama_fleet.doctor.check import Check, Status
from ollama_fleet.doctor.facts import Facts
from ollama_fleet.doctor.software import parse_version
from ollama_fleet.gpu import GpuKind, Vendor

# In between it tries each GPU under the UUID of its card, which CUDA does not take for a slice
# (ollama/ollama#13800); from 0.30 on under its number, and then shows a runner what it was shown.
_SLICES_UNTIL: Final = (0, 13, 1)
_SLICES_SINCE: Final = (0, 30, 0)


def slices(facts: Facts) -> Iterator[Check]:
    """Whether Ollama runs models on the slices of cards; nothing is said where it does."""
    numbers = [
        str(gpu.index)
        for gpu in facts.inventory.gpus
        if gpu.kind is GpuKind.SLICE and gpu.vendor is Vendor.NVIDIA
    ]
    version = parse_version(facts.binary.version)
    if not numbers or not facts.runs_own or facts.inventory.simulated or version is None:
        return
    if _SLICES_UNTIL < version < _SLICES_SINCE:
        yield Check(
            "mig",
            Status.WARN,
            f"Ollama {facts.binary.version} leaves out the MIG slices that are GPUs"
            f" {', '.join(numbers)}: models would run on the CPU (ollama/ollama#13800)",
            "update Ollama to 0.30.0 or newer, or take the card out of MIG mode"
            " (`sudo nvidia-smi -i N -mig 0`)",
        )


__all__ = ["slices"]
