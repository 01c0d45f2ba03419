"""AMD's cards on the PCI bus, and what the driver amdgpu says of each.

The files are those of the kernel's amdgpu (Documentation/gpu/amdgpu). None of those read here wakes
a card that sleeps.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ollama_fleet.gpu import sysfs
from ollama_fleet.gpu.amd.nodes import Node
from ollama_fleet.gpu.amd.tree import AMD, Tree

DRIVER: Final = "amdgpu"
_DISPLAY_CLASSES: Final = ("0x03", "0x12")  # graphics; accelerators, as Instinct cards are
_FUNCTION: Final = 0x7  # of a location: what MI300's partitions have in place of a PCI function
_DIVIDING: Final = ("DPX", "TPX", "QPX", "CPX")  # SPX has one partition, which is the card
_NO_MAKER: Final = "unknown"  # of the memory, as older kernels have it of processors, too
_OF_BOARDS: Final = ("board_info", "mem_busy_percent")


@dataclass(frozen=True, slots=True)
class Card:
    """One PCI device with its nodes in ROCm's order, of which a container may lack some.

    `vram_bytes` is its own memory, or what the firmware has set apart for it of the system's;
    `modes` are those in which its cores and its memory are divided (CPX, NPS4), if it tells them.
    """

    device: Path
    address: str
    nodes: tuple[Node, ...]
    device_id: int
    revision: int
    product: str
    unique_id: int
    vram_bytes: int
    is_in_processor: bool
    is_virtual: bool
    drives_display: bool
    modes: tuple[str, ...]

    @property
    def is_integrated(self) -> bool:
        """Whether it works in the system's memory. Old kernels have it in the CPUs' node."""
        return self.is_in_processor or self.nodes[0].has_cpus

    @property
    def is_divided(self) -> bool:
        """Whether its nodes are partitions: one alone may be all that a container has of it."""
        return len(self.nodes) > 1 or self.modes[0] in _DIVIDING


def read_cards(tree: Tree, nodes: Iterable[Node]) -> tuple[Card, ...]:
    """The cards of these nodes, in the order of the first node of each."""
    by_address: dict[str, list[Node]] = {}
    for node in nodes:
        by_address.setdefault(_address(tree, node), []).append(node)
    return tuple(
        _read_card(tree.pci / address, tuple(parts)) for address, parts in by_address.items()
    )


def pci_cards(tree: Tree) -> Iterator[str]:
    """The PCI addresses of all AMD cards there are, whatever drives them."""
    for address in sysfs.names(tree.pci):
        device = tree.pci / address
        if sysfs.text(device / "vendor") == AMD and (sysfs.text(device / "class") or "").startswith(
            _DISPLAY_CLASSES
        ):
            yield address


def is_in_processor(device: Path) -> bool:
    """Whether the driver takes it for a part of a processor (AMD_IS_APU).

    Nowhere does it say so, but of such a part it knows no maker of the memory, and has neither a
    file for a board nor one for the load of the memory (amdgpu_vram_mgr.c, amdgpu_device.c,
    amdgpu_pm.c). Whether these are there is enough: to read them asks the hardware.
    """
    if not sysfs.exists(device / "mem_info_gtt_total"):
        return False  # the driver is not there, or its files are hidden
    maker = sysfs.text(device / "mem_info_vram_vendor") or _NO_MAKER
    return maker == _NO_MAKER and not any(sysfs.exists(device / name) for name in _OF_BOARDS)


def partition_modes(device: Path) -> tuple[str, ...]:
    """How the driver has divided its cores and its memory now; empty for what it does not tell."""
    kinds = ("compute", "memory")
    return tuple(sysfs.line(device / f"current_{kind}_partition") for kind in kinds)


def _address(tree: Tree, node: Node) -> str:
    """Its PCI address: that of its render node, else the one that KFD gives.

    A partition's render node belongs to no PCI device, and the function in its location is the
    number of the partition.
    """
    render = tree.sys / "class" / "drm" / f"renderD{node.render_minor}" / "device"
    linked = sysfs.target(render)
    if linked and sysfs.exists(tree.pci / linked):
        return linked
    exact, whole = _written(node, node.location), _written(node, node.location & ~_FUNCTION)
    return exact if sysfs.exists(tree.pci / exact) else whole


def _written(node: Node, location: int) -> str:
    bus, slot, function = location >> 8, location >> 3 & 0x1F, location & _FUNCTION
    return f"{node.domain:04x}:{bus:02x}:{slot:02x}.{function}"


def _read_card(device: Path, nodes: tuple[Node, ...]) -> Card:
    return Card(
        device=device,
        address=device.name,
        nodes=nodes,
        device_id=nodes[0].device_id,
        revision=sysfs.number(device / "revision") or 0,
        product=sysfs.line(device / "product_name"),
        unique_id=sysfs.parse_number(f"0x{sysfs.text(device / 'unique_id')}") or 0,
        vram_bytes=max(0, sysfs.number(device / "mem_info_vram_total") or 0),
        is_in_processor=is_in_processor(device),
        is_virtual=bool(sysfs.target(device / "physfn")),
        drives_display=any(_connected(device / "drm")),
        modes=partition_modes(device),
    )


def _connected(drm: Path) -> Iterator[bool]:
    """For each connector of the card whether a screen is driven over it."""
    for card in sysfs.names(drm):
        for connector in sysfs.names(drm / card):
            yield sysfs.text(drm / card / connector / "enabled") == "enabled"
