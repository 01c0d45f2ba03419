"""GPU records: what a card is and what it reads now. No I/O here; vendors fill them in."""

from dataclasses import dataclass
from enum import Enum
from typing import Protocol


class Vendor(Enum):
    """Who made a GPU, and so which environment variables choose it."""

    NVIDIA = "nvidia"
    AMD = "amd"


class GpuKind(Enum):
    """What a GPU is to a planner."""

    DISCRETE = "discrete"
    INTEGRATED = "integrated"
    SLICE = "slice"  # a part of a card that is addressed as a GPU of its own, as MIG instances are
    VIRTUAL = "virtual"  # a share of a card that the host of this virtual machine gave to it (vGPU)


@dataclass(frozen=True, slots=True)
class GpuLink:
    """How near another GPU is: bytes per second one way over the best path, 0 if unknown.

    `kind`, nearest first: "nvlink", "xgmi", "switch" (within PCIe switches), "bridge" (over the
    same host bridge), "node" (within the NUMA node), "socket" (from one NUMA node to another, as
    those of two CPU sockets; of a divided processor they are on one).
    """

    uuid: str
    kind: str
    bandwidth_bytes_per_s: int = 0


@dataclass(frozen=True, slots=True)
class Gpu:
    """One GPU as the driver lists it. Identity is the UUID; the index is for people.

    A card's index is the driver's; slices are numbered on after the last card, so that no two GPUs
    share a number. The slices of a card share its `pci_bus_id`.
    """

    uuid: str
    index: int
    name: str
    vendor: Vendor
    memory_bytes: int
    driver: str = ""
    kind: GpuKind = GpuKind.DISCRETE
    parent_uuid: str = ""  # the card a slice belongs to
    pci_bus_id: str = ""
    numa_node: int | None = None
    cpus: tuple[int, ...] = ()  # the CPUs nearest to it; empty if unknown
    display_active: bool = False
    links: tuple[GpuLink, ...] = ()  # to each other GPU of the inventory that the driver places
    reserved_bytes: int = 0  # memory that is not for models (a display, an operator's wish)
    architecture: str = ""  # what code must be built for, as its vendor's compilers name it: gfx942
    visible_as: str = ""  # what its vendor's variable calls it, where that is not the UUID


@dataclass(frozen=True, slots=True)
class GpuReading:
    """One look at one GPU. A field the driver does not give is None and is shown as a dash."""

    uuid: str
    memory_used_bytes: int | None = None
    utilisation_ratio: float | None = None  # 0 to 1
    temperature_c: float | None = None
    power_w: float | None = None
    heat_throttled: bool | None = None  # the driver slows it down because it is hot
    pids: tuple[int, ...] = ()  # processes that hold memory on it, where the driver tells
    lost: str = ""  # why nothing can run on it any more, where the driver says so of this card
    faults: int = 0  # reported by the driver since it was first read, but for programs' own
    last_fault: int = 0  # the number of the last of them (Xid); 0 where they have none
    changed: str = ""  # how the card is divided now, other than when it was listed, and what to do


@dataclass(frozen=True, slots=True)
class Inventory:
    """All GPUs of the box in index order, and for people what is odd of them (`notes`).

    `remarks` are those of the notes that tell of nothing amiss. `own_gpu` is what Ollama runs on by
    itself though nobody lists it and nobody can choose it: Metal, or nothing.
    """

    gpus: tuple[Gpu, ...] = ()
    notes: tuple[str, ...] = ()
    simulated: bool = False
    remarks: tuple[str, ...] = ()
    own_gpu: str = ""


@dataclass(frozen=True, slots=True)
class GpuSample:
    """The readings of one round; `error` says why there are none.

    `down`: because the driver is gone or hangs, so that nothing can run on cards without a reading.
    """

    readings: tuple[GpuReading, ...] = ()
    error: str = ""
    down: bool = False


class GpuSource(Protocol):
    """A vendor's driver, or the simulation: blocking calls, made off the event loop."""

    def inventory(self) -> Inventory:
        """List the GPUs. Never raises: a driver that is missing or broken is a note."""
        ...

    def read(self) -> GpuSample:
        """Read all GPUs once. Never raises."""
        ...

    def close(self) -> None:
        """Let go of the driver."""
        ...


__all__ = [
    "Gpu",
    "GpuKind",
    "GpuLink",
    "GpuReading",
    "GpuSample",
    "GpuSource",
    "Inventory",
    "Vendor",
]
