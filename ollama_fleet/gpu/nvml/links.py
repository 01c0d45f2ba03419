"""How near GPUs are to one another: over NVLink, or the way that PCIe has from one to the other.

Bandwidths are those of the links themselves, one way; what a copy reaches is some 10 to 20 % less,
and less again on the way from one CPU socket to another.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any, Final

import pynvml

from ollama_fleet.gpu import Gpu, GpuKind, GpuLink, sysfs
from ollama_fleet.gpu.nvml.calls import ask, text
from ollama_fleet.gpu.nvml.cards import Listed
from ollama_fleet.gpu.nvml.place import device

_ANCESTORS: Final = {
    pynvml.NVML_TOPOLOGY_INTERNAL: "switch",  # two chips on one board, behind its own switch
    pynvml.NVML_TOPOLOGY_SINGLE: "switch",
    pynvml.NVML_TOPOLOGY_MULTIPLE: "switch",
    pynvml.NVML_TOPOLOGY_HOSTBRIDGE: "bridge",
    pynvml.NVML_TOPOLOGY_NODE: "node",
    pynvml.NVML_TOPOLOGY_SYSTEM: "socket",
}

# Of a lane, by generation: its transfers per second less what its code takes (8b/10b, from the
# third on 128b/130b, from the sixth on 242 of the 256 bytes of a flit).
_PCIE_LANE_BYTES_PER_S: Final = {
    1: 2.5e9 * 8 / 10 / 8,
    2: 5e9 * 8 / 10 / 8,
    3: 8e9 * 128 / 130 / 8,
    4: 16e9 * 128 / 130 / 8,
    5: 32e9 * 128 / 130 / 8,
    6: 64e9 * 242 / 256 / 8,
}

# Of an NVLink, by NVML's number for its version, where the driver does not tell the speed: as in
# NVIDIA's papers on P100, V100, A100, H100 and B200.
_NVLINK_BYTES_PER_S: Final = {1: 20e9, 2: 25e9, 3: 25e9, 4: 25e9, 6: 25e9, 7: 50e9}


@dataclass(slots=True)
class _Ports:
    """The NVLinks of a card that are up: how many end at which card, how many at a switch."""

    bytes_per_s: float = 0.0  # of each
    at_cards: Counter[str] = field(default_factory=Counter)  # by the kernel's name for it
    at_switch: int = 0
    at_unknown: int = 0  # older drivers do not say at what, virtual machines have other addresses


@dataclass(frozen=True, slots=True)
class _Way:
    """From one card to another; the kind is empty where nobody knows it."""

    kind: str = ""
    bytes_per_s: float = 0.0
    nvlink_bytes_per_s: float | None = None


def with_links(gpus: Iterable[Gpu], cards: Sequence[Listed]) -> tuple[Gpu, ...]:
    """The same GPUs, each with its links to the others. Raises NVMLError if the driver is gone."""
    listed = tuple(gpus)
    ways = _ways(cards) if len(listed) > 1 else {}
    return tuple(
        replace(
            gpu,
            links=tuple(
                link
                for other in listed
                if other is not gpu and (link := _link(gpu, other, ways)) is not None
            ),
        )
        for gpu in listed
    )


def _link(gpu: Gpu, other: Gpu, ways: Mapping[frozenset[str], _Way]) -> GpuLink | None:
    """How near another GPU is: a slice is as near as its card, but for NVLink, which it has not."""
    pair = frozenset((gpu.parent_uuid or gpu.uuid, other.parent_uuid or other.uuid))
    if len(pair) == 1:
        return GpuLink(other.uuid, "switch")
    way = ways[pair]
    whole = GpuKind.SLICE not in (gpu.kind, other.kind)
    if whole and way.nvlink_bytes_per_s is not None:
        return GpuLink(other.uuid, "nvlink", round(way.nvlink_bytes_per_s))
    return GpuLink(other.uuid, way.kind, round(way.bytes_per_s)) if way.kind else None


def _ways(cards: Sequence[Listed]) -> dict[frozenset[str], _Way]:
    ports = {each.card.uuid: _ports(each, cards) for each in cards}
    pcie = {each.card.uuid: _pcie_bytes_per_s(each.handle) for each in cards}
    return {
        frozenset((a.card.uuid, b.card.uuid)): _Way(
            _kind(a, b),
            min(pcie[a.card.uuid], pcie[b.card.uuid]),
            _over_nvlink(a, b, ports[a.card.uuid], ports[b.card.uuid]),
        )
        for a, b in combinations(cards, 2)
    }


def _kind(one: Listed, other: Listed) -> str:
    """In which way PCIe joins two cards; empty where neither driver nor kernel says so."""
    ancestor = _told("nvmlDeviceGetTopologyCommonAncestor", one.handle, other.handle)
    if ancestor in _ANCESTORS:
        return _ANCESTORS[ancestor]
    return sysfs.nearness(one.folder, other.folder)


def _pcie_bytes_per_s(handle: Any) -> float:
    """What its PCIe link may do at most: at rest it is slower, to save power. 0 if unknown."""
    generation = _told("nvmlDeviceGetMaxPcieLinkGeneration", handle)
    lanes = _told("nvmlDeviceGetMaxPcieLinkWidth", handle)
    return _PCIE_LANE_BYTES_PER_S.get(generation or 0, 0.0) * (lanes or 0)


# -- NVLink ----------------------------------------------------------------------------------------


def _over_nvlink(one: Listed, other: Listed, ours: _Ports, theirs: _Ports) -> float | None:
    """Bytes per second; None where no NVLink joins the two, and 0 where it does not tell."""
    speed = min(ours.bytes_per_s, theirs.bytes_per_s)
    direct = max(ours.at_cards[other.folder.name], theirs.at_cards[one.folder.name])
    if direct:
        return direct * speed
    switched = min(ours.at_switch + ours.at_unknown, theirs.at_switch + theirs.at_unknown)
    return switched * speed if switched and _reaches(one, other, ours, theirs) else None


def _reaches(one: Listed, other: Listed, ours: _Ports, theirs: _Ports) -> bool:
    """Whether the switches join the two: a machine's may be divided among tenants."""
    index = pynvml.NVML_P2P_CAPS_INDEX_NVLINK
    status = _told("nvmlDeviceGetP2PStatus", one.handle, other.handle, index)
    if status is None:
        return bool(ours.at_switch and theirs.at_switch)
    return bool(status == pynvml.NVML_P2P_STATUS_OK)


def _ports(card: Listed, cards: Iterable[Listed]) -> _Ports:
    ports, handle = _Ports(), card.handle
    names = {each.folder.name for each in cards if each is not card}
    for link in range(pynvml.NVML_NVLINK_MAX_LINKS):
        if _told("nvmlDeviceGetNvLinkState", handle, link) != pynvml.NVML_FEATURE_ENABLED:
            continue
        ports.bytes_per_s = ports.bytes_per_s or _nvlink_bytes_per_s(handle, link)
        remote = _told("nvmlDeviceGetNvLinkRemotePciInfo", handle, link)
        bus_id = text(getattr(remote, "busId", ""))
        name = device(card.folder.parent, bus_id).name if bus_id else ""
        kind = _told("nvmlDeviceGetNvLinkRemoteDeviceType", handle, link)
        if name in names:
            ports.at_cards[name] += 1
        elif kind == pynvml.NVML_NVLINK_DEVICE_TYPE_SWITCH:
            ports.at_switch += 1
        elif kind != pynvml.NVML_NVLINK_DEVICE_TYPE_IBMNPU:  # that is a CPU
            ports.at_unknown += 1
    return ports


def _nvlink_bytes_per_s(handle: Any, link: int) -> float:
    """What one link of a card does one way; by its version where the driver does not tell."""
    fields = _told(
        "nvmlDeviceGetFieldValues", handle, [pynvml.NVML_FI_DEV_NVLINK_SPEED_MBPS_COMMON]
    )
    if fields is not None and fields[0].nvmlReturn == pynvml.NVML_SUCCESS:
        told = fields[0].value.uiVal
        if told:
            return float(told * 1e6)
    return _NVLINK_BYTES_PER_S.get(_told("nvmlDeviceGetNvLinkVersion", handle, link) or 0, 0.0)


def _told(function: str, *arguments: object) -> Any | None:
    """As `ask` has it, but a card that is lost meanwhile is for its readings to tell."""
    try:
        return ask(function, *arguments)
    except pynvml.NVMLError:
        return None


__all__ = ["with_links"]
