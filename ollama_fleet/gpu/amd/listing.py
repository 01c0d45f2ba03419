"""Cards as GPUs: who they are, what to call them, how they are linked. Reads nothing.

ROCm knows a card by `GPU-` and the 16 digits of its unique id, which ROCR_VISIBLE_DEVICES takes.
It takes no id that two have, as the partitions of a card, nor one that KFD does not tell, as older
kernels: such a GPU is shown to ROCm by its number.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from ollama_fleet.gpu import Gpu, GpuKind, GpuLink, Vendor
from ollama_fleet.gpu.amd.cards import Card
from ollama_fleet.gpu.amd.names import Names, card_name
from ollama_fleet.gpu.amd.nodes import XGMI, Node

_VIRTUAL_NAME: Final = " VF"  # how AMD's list names what a hypervisor gives of a card


@dataclass(frozen=True, slots=True)
class Place:
    """Where a card sits: its NUMA node and the CPUs nearest to it."""

    numa_node: int | None
    cpus: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Listed:
    """A GPU, and what is needed to read it."""

    gpu: Gpu
    card: Card
    node: Node


def list_gpus(
    cards: Sequence[Card],
    names: Names,
    *,
    driver: str,
    place: Callable[[Path], Place],
    nearness: Callable[[Path, Path], str],
) -> tuple[Listed, ...]:
    """The GPUs in ROCm's order, by which they are numbered."""
    known = _Known(
        Counter(_unique(card) for card in cards),
        Counter(node.unique_id for card in cards for node in card.nodes),
    )
    listed = [
        Listed(
            replace(
                _gpu(card, node, known, card_name(names, card, node), place(card.device)),
                driver=driver,
            ),
            card,
            node,
        )
        for card in cards
        for node in card.nodes
    ]
    listed.sort(key=lambda one: one.node.order)
    return tuple(
        replace(one, gpu=replace(one.gpu, links=tuple(_links(one, listed, nearness))))
        for one in listed
    )


@dataclass(frozen=True, slots=True)
class _Known:
    """How many cards, and how many nodes, have each unique id."""

    cards: Counter[int]
    nodes: Counter[int]


def _gpu(card: Card, node: Node, known: _Known, name: str, place: Place) -> Gpu:
    uuid, in_rocm = _uuid(card, node, known), _id_in_rocm(node, known)
    return Gpu(
        uuid=uuid,
        index=node.order,
        name=f"{name} ({card.modes[0] or 'a partition'})" if card.is_divided else name,
        vendor=Vendor.AMD,
        memory_bytes=node.memory_bytes or card.vram_bytes // len(card.nodes),
        kind=_kind(card, name),
        parent_uuid=_card_uuid(card, known) if card.is_divided else "",
        pci_bus_id=card.address,
        numa_node=place.numa_node,
        cpus=place.cpus,
        display_active=card.drives_display,
        architecture=node.architecture,
        visible_as="" if in_rocm == uuid else in_rocm or str(node.order),
    )


def _kind(card: Card, name: str) -> GpuKind:
    if card.is_divided:
        return GpuKind.SLICE
    if card.is_virtual or name.endswith(_VIRTUAL_NAME):
        return GpuKind.VIRTUAL
    return GpuKind.INTEGRATED if card.is_integrated else GpuKind.DISCRETE


def _uuid(card: Card, node: Node, known: _Known) -> str:
    own, in_rocm = _card_uuid(card, known), _id_in_rocm(node, known)
    if not card.is_divided:
        return own
    return in_rocm if in_rocm not in {"", own} else f"{own}-{card.nodes.index(node)}"


def _id_in_rocm(node: Node, known: _Known) -> str:
    """The id by which ROCm finds it; empty where it has to be told the number."""
    is_found = node.unique_id and known.nodes[node.unique_id] == 1
    return _id(node.unique_id) if is_found else ""


def _card_uuid(card: Card, known: _Known) -> str:
    """A card's own identity; one without unique id goes by its place on the PCI bus."""
    unique = _unique(card)
    return _id(unique) if unique and known.cards[unique] == 1 else f"PCI-{card.address}"


def _unique(card: Card) -> int:
    return card.unique_id if card.is_divided else card.nodes[0].unique_id or card.unique_id


def _id(unique_id: int) -> str:
    return f"GPU-{unique_id:016x}"


def _links(
    one: Listed, listed: Sequence[Listed], nearness: Callable[[Path, Path], str]
) -> Iterator[GpuLink]:
    direct = {link.node: link for link in one.node.links if link.kind == XGMI}
    for other in listed:
        if other is one:
            continue
        link = direct.get(other.node.number)
        if link is not None:
            yield GpuLink(other.gpu.uuid, "xgmi", link.bandwidth_bytes_per_s)
        elif kind := nearness(one.card.device, other.card.device):
            slowest = min(_to_host(one.node), _to_host(other.node))
            yield GpuLink(other.gpu.uuid, kind, slowest)


def _to_host(node: Node) -> int:
    """Bytes per second of a card's PCIe link, 0 if unknown."""
    links = (link.bandwidth_bytes_per_s for link in node.links if link.kind != XGMI)
    return max(links, default=0)
