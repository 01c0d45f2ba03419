"""What a card is: a GPU, one that shares the system's memory, a part of one, or many slices."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import psutil
import pynvml

from ollama_fleet.gpu import Gpu, GpuKind, Vendor, sysfs
from ollama_fleet.gpu.nvml.calls import ask, has_none, memory_of, text
from ollama_fleet.gpu.nvml.place import device, nearest_cpus
from ollama_fleet.gpu.nvml.slices import Modes, Slice, handles, how_to_slice, modes, slices
from ollama_fleet.units import show_bytes

_SHARED_OUT: Final = frozenset({
    pynvml.NVML_GPU_VIRTUALIZATION_MODE_HOST_VGPU,
    pynvml.NVML_GPU_VIRTUALIZATION_MODE_HOST_VSGA,
})  # fmt: skip

_COMPUTE_MODES: Final = {
    pynvml.NVML_COMPUTEMODE_PROHIBITED: "no program may use it",
    pynvml.NVML_COMPUTEMODE_EXCLUSIVE_PROCESS: "one program may use it at a time, so one model",
}

# Of memory that a card shares with the system, an eighth is the system's, and no more than this.
_SYSTEM_SHARE: Final = 8
_SYSTEM_BYTES: Final = 4 * 2**30


@dataclass(frozen=True, slots=True)
class Card:
    """What readings need to know of a card beforehand."""

    uuid: str
    modes: Modes
    slices: tuple[Slice, ...]
    integrated: bool


@dataclass(frozen=True, slots=True)
class Listed:
    """A card as the inventory has it: the slices stand in its place where it is in MIG mode.

    `folder` is the kernel's for it. `remarks` are notes of what is as it should be, `troubles` of
    what is not.
    """

    handle: Any
    folder: Path
    card: Gpu
    slices: tuple[Gpu, ...] | None
    remarks: tuple[str, ...] = ()
    troubles: tuple[str, ...] = ()


def meet(handle: Any, uuid: str) -> Card:
    """Ask a card what it is for good, or until its MIG mode changes. Raises NVMLError."""
    mig = modes(handle) or Modes()
    return Card(
        uuid=uuid,
        modes=mig,
        slices=slices(handle) if mig.now else (),
        integrated=not mig.now
        and memory_of(handle) is None
        and has_none("nvmlDeviceGetMemoryInfo", handle),
    )


def listed(handle: Any, index: int, card: Card, driver: str, devices: Path) -> Listed:
    """List a card, with what people should know of it. Raises NVMLError."""
    bus_id = text(getattr(ask("nvmlDeviceGetPciInfo", handle), "busId", ""))
    folder = device(devices, bus_id)
    virtualisation = ask("nvmlDeviceGetVirtualizationMode", handle)
    gpu = replace(
        _describe(handle, index, card, driver),
        pci_bus_id=bus_id,
        numa_node=sysfs.numa_node(folder),  # on coherent machines NVML's is that of its own memory
        cpus=nearest_cpus(handle, folder),
    )
    if virtualisation == pynvml.NVML_GPU_VIRTUALIZATION_MODE_VGPU:
        gpu = replace(gpu, kind=GpuKind.VIRTUAL)
    parts = tuple(_describe_slices(handle, gpu, card)) if card.modes.now else None
    troubles = (*_troubles(handle, gpu, card, virtualisation), *_without_size(gpu, parts))
    named = f"GPU {index} ({gpu.name})"
    return Listed(
        handle,
        folder,
        gpu,
        parts,
        tuple(f"{named} {remark}" for remark in _remarks(gpu, card)),
        tuple(f"{named} {trouble}" for trouble in troubles),
    )


def _describe(handle: Any, index: int, card: Card, driver: str) -> Gpu:
    total_bytes, reserved_bytes = _system_memory() if card.integrated else _memory(handle)
    return Gpu(
        uuid=card.uuid,
        index=index,
        name=text(ask("nvmlDeviceGetName", handle)) or "NVIDIA GPU",
        vendor=Vendor.NVIDIA,
        memory_bytes=total_bytes,
        driver=driver,
        kind=GpuKind.INTEGRATED if card.integrated else GpuKind.DISCRETE,
        display_active=bool(ask("nvmlDeviceGetDisplayActive", handle)),
        reserved_bytes=reserved_bytes,
        architecture=_architecture(handle),
    )


def _memory(handle: Any) -> tuple[int, int]:
    """How much there is, 0 if nobody knows, and what of it the driver keeps for itself."""
    memory = memory_of(handle)
    return (memory.total, getattr(memory, "reserved", 0)) if memory else (0, 0)


def _system_memory() -> tuple[int, int]:
    total_bytes = int(psutil.virtual_memory().total)
    return total_bytes, min(total_bytes // _SYSTEM_SHARE, _SYSTEM_BYTES)


def _architecture(handle: Any) -> str:
    """What CUDA's compilers call it, as sm_86; empty where the driver does not say."""
    major, minor = ask("nvmlDeviceGetCudaComputeCapability", handle) or (0, 0)
    return f"sm_{major}{minor}" if major else ""


def _describe_slices(handle: Any, gpu: Gpu, card: Card) -> Iterator[Gpu]:
    """Slices, yet without their indices; those that share memory have equal parts of it."""
    known = {each.uuid: each for each in card.slices}
    for uuid, part in handles(handle).items():
        total_bytes, reserved_bytes = _memory(part)
        sharers = known[uuid].sharers if uuid in known else 1
        yield replace(
            gpu,
            uuid=uuid,
            name=text(ask("nvmlDeviceGetName", part)) or f"{gpu.name} MIG",
            memory_bytes=total_bytes // sharers,
            kind=GpuKind.SLICE,
            parent_uuid=gpu.uuid,
            display_active=False,
            reserved_bytes=reserved_bytes // sharers,
        )


def _remarks(gpu: Gpu, card: Card) -> Iterator[str]:
    if gpu.kind is GpuKind.VIRTUAL:
        yield "is a vGPU: a part of a card that the host of this virtual machine gives to it"
    if gpu.kind is GpuKind.INTEGRATED:
        yield f"is integrated: it shares the system's memory, {show_bytes(gpu.memory_bytes)}"
    shared = sum(each.sharers > 1 for each in card.slices)
    if shared:
        yield f"has {shared} slices that share memory: each is listed with an equal part of it"


def _troubles(handle: Any, gpu: Gpu, card: Card, virtualisation: int | None) -> Iterator[str]:
    whole = f"`sudo nvidia-smi -i {gpu.index} -mig 0`"
    reset = f"stop what runs on it, then `sudo nvidia-smi --gpu-reset -i {gpu.index}`"
    if card.modes.now and not card.slices:
        make = how_to_slice(handle, gpu.index)
        again = "then start the fleet anew"
        yield f"is in MIG mode and has no slices: {make}; {whole} makes it one GPU again; {again}"
    if card.modes.next and not card.modes.now:
        yield f"is to be in MIG mode, but only after a reset ({reset}); {whole} calls it off"
    if card.modes.now and not card.modes.next:
        yield f"is to leave MIG mode, but only after a reset ({reset})"
    if virtualisation in _SHARED_OUT:
        yield (
            "is shared out to virtual machines: with NVIDIA's driver for such hosts no program"
            " can compute on it here"
        )
    compute = _COMPUTE_MODES.get(ask("nvmlDeviceGetComputeMode", handle) or 0)
    if compute is not None:
        default = f"`sudo nvidia-smi -i {gpu.index} -c DEFAULT`"
        yield f"is in a compute mode in which {compute} ({default} ends that)"


def _without_size(gpu: Gpu, parts: Iterable[Gpu] | None) -> Iterator[str]:
    for each in (gpu,) if parts is None else parts:
        if not each.memory_bytes:
            who = "" if each is gpu else f"has slice {each.uuid}, which "
            yield f"{who}tells no memory size (`nvidia-smi -q -d MEMORY` may say why)"


__all__ = ["Card", "Listed", "listed", "meet"]
