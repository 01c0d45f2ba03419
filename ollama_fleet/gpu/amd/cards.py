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
_SYSTEM_RATIO: Final = 4  # of the memory an APU may borrow to what is set apart for it


@dataclass(frozen=True, slots=True)
class Card:
    """One PCI device with its nodes in ROCm's order: more than one where it is partitioned.

    `vram_bytes` is its own memory, `borrowed_bytes` what of the system's it may use besides.
    """

    device: Path
    address: str
    nodes: tuple[Node, ...]
    device_id: int
    revision: int
    product: str
    unique_id: int
    vram_bytes: int
    borrowed_bytes: int
    tells_board: bool
    is_virtual: bool
    drives_display: bool

    @property
    def is_integrated(self) -> bool:
        """Whether it is the graphics part of a processor and works in the system's memory.

        Old kernels have it in one node with the CPUs. Newer ones give ROCm more memory than there
        is on the card, or tell neither the maker of its memory nor the kind of its board.
        """
        node = self.nodes[0]
        if node.has_cpus:
            return True
        if self.tells_board or self.is_virtual or len(self.nodes) > 1:
            return False
        return (
            node.memory_bytes > self.vram_bytes > 0
            or self.borrowed_bytes >= _SYSTEM_RATIO * self.vram_bytes > 0
        )


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


def tells_board(device: Path) -> bool:
    """Whether the driver knows the maker of its memory or its board, as of cards of their own."""
    return bool(sysfs.text(device / "mem_info_vram_vendor") or sysfs.text(device / "board_info"))


def _address(tree: Tree, node: Node) -> str:
    """Its PCI address: that of its render node, else the one that KFD gives.

    A partition's render node belongs to no PCI device, and the function in its location is the
    number of the partition.
    """
    render = tree.sys / "class" / "drm" / f"renderD{node.render_minor}" / "device"
    linked = sysfs.target(render)
    if linked and (tree.pci / linked).exists():
        return linked
    exact, whole = _written(node, node.location), _written(node, node.location & ~_FUNCTION)
    return exact if (tree.pci / exact).exists() else whole


def _written(node: Node, location: int) -> str:
    bus, slot, function = location >> 8, location >> 3 & 0x1F, location & _FUNCTION
    return f"{node.domain:04x}:{bus:02x}:{slot:02x}.{function}"


def _read_card(device: Path, nodes: tuple[Node, ...]) -> Card:
    return Card(
        device=device,
        address=device.name,
        nodes=nodes,
        device_id=sysfs.number(device / "device") or nodes[0].device_id,
        revision=sysfs.number(device / "revision") or 0,
        product=sysfs.text(device / "product_name") or "",
        unique_id=_hexadecimal(sysfs.text(device / "unique_id") or ""),
        vram_bytes=max(0, sysfs.number(device / "mem_info_vram_total") or 0),
        borrowed_bytes=max(0, sysfs.number(device / "mem_info_gtt_total") or 0),
        tells_board=tells_board(device),
        is_virtual=bool(sysfs.target(device / "physfn")),
        drives_display=any(_connected(device / "drm")),
    )


def _connected(drm: Path) -> Iterator[bool]:
    """For each connector of the card whether a screen is driven over it."""
    for card in sysfs.names(drm):
        for connector in sysfs.names(drm / card):
            if connector.startswith(f"{card}-"):
                yield sysfs.text(drm / card / connector / "enabled") == "enabled"


def _hexadecimal(word: str) -> int:
    try:
        return int(word, 16) & (1 << 64) - 1
    except ValueError:
        return 0
