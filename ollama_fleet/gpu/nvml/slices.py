"""MIG: a card divided into slices, each of them a GPU with a UUID and memory of its own.

A slice is a compute instance; several may be within one GPU instance, whose memory they share.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import pynvml

from ollama_fleet.gpu.nvml.calls import ask, text
from ollama_fleet.units import show_bytes

_SMALLEST = pynvml.NVML_GPU_INSTANCE_PROFILE_1_SLICE


@dataclass(frozen=True, slots=True)
class Slice:
    """A slice as it is known for good; `sharers` have the memory of its GPU instance, itself too.

    It has no handle: NVML gives that of one that is no more to the next one that is made.
    """

    uuid: str
    gpu_instance: int | None = None
    compute_instance: int | None = None
    sharers: int = 1


@dataclass(frozen=True, slots=True)
class Modes:
    """Whether a card is divided now, and whether it will be after its next reset."""

    now: bool = False
    next: bool = False


def modes(card: Any) -> Modes | None:
    """The MIG mode of a card; None where it, or its driver, knows none. Raises NVMLError."""
    told = ask("nvmlDeviceGetMigMode", card)
    if told is None:
        return None
    now, after = (mode == pynvml.NVML_DEVICE_MIG_ENABLE for mode in told)
    return Modes(now, after)


def handles(card: Any) -> dict[str, Any]:
    """The handles of the slices of a card, by their UUIDs, in NVML's order. Raises NVMLError.

    They are asked for card by card: a search by UUID ends at any card of the machine that is lost.
    One that does not say who it is, as it may just be destroyed, is none.
    """
    places = range(ask("nvmlDeviceGetMaxMigDeviceCount", card) or 0)
    found = (ask("nvmlDeviceGetMigDeviceHandleByIndex", card, place) for place in places)
    named = ((ask("nvmlDeviceGetUUID", each), each) for each in found if each is not None)
    return {text(uuid): each for uuid, each in named if uuid}


def slices(card: Any) -> tuple[Slice, ...]:
    """The slices of a card that is in MIG mode. Raises NVMLError."""
    found = handles(card)
    instances = {u: ask("nvmlDeviceGetGpuInstanceId", handle) for u, handle in found.items()}
    sharers = Counter(instances.values())
    return tuple(
        Slice(
            uuid,
            instances[uuid],
            ask("nvmlDeviceGetComputeInstanceId", handle),
            1 if instances[uuid] is None else sharers[instances[uuid]],
        )
        for uuid, handle in found.items()
    )


def how_to_slice(card: Any, index: int) -> str:
    """The commands that make slices of a card, the smallest there are. Raises NVMLError."""
    mig = f"sudo nvidia-smi mig -i {index}"
    profile = _profile(card)
    if profile is None:
        return f"`{mig} -lgip` lists the profiles, `{mig} -cgi PROFILE -C` makes a slice of one"
    capacity = ask("nvmlDeviceGetGpuInstanceRemainingCapacity", card, profile.id)
    if capacity is not None and capacity < profile.instanceCount:
        return f"it has GPU instances without compute instances: `{mig} -cci` makes those"
    ids = ",".join([str(profile.id)] * profile.instanceCount)
    size = show_bytes(profile.memorySizeMB * 2**20)
    return f"`{mig} -cgi {ids} -C` makes {profile.instanceCount} of {size} each"


def _profile(card: Any) -> Any | None:
    newer = ask("nvmlDeviceGetGpuInstanceProfileInfo", card, _SMALLEST, 2)
    return newer or ask("nvmlDeviceGetGpuInstanceProfileInfo", card, _SMALLEST, 1)


__all__ = ["Modes", "Slice", "handles", "how_to_slice", "modes", "slices"]
