"""How GPUs are connected, in words. Pure."""

from collections.abc import Mapping, Sequence
from typing import Final

from ollama_fleet.gpu import Gpu
from ollama_fleet.placement.closeness import Nearness, pairs

NAMES: Final[Mapping[str, str]] = {
    "nvlink": "NVLink",
    "xgmi": "Infinity Fabric (xGMI)",
    "switch": "PCIe switches",
    "bridge": "one PCIe host bridge",
    "node": "one NUMA node",
    "socket": "different NUMA nodes",
}
"""What connects two GPUs, by the kind of their link."""

_ALL: Final[Mapping[str, str]] = {
    "nvlink": "joined by NVLink",
    "xgmi": "joined by Infinity Fabric (xGMI)",
    "switch": "behind the same PCIe switches",
    "bridge": "on one PCIe host bridge",
    "node": "on one NUMA node",
    "socket": "across NUMA nodes",
}
_DIRECT: Final = ("nvlink", "xgmi")


def wired(gpus: Sequence[Gpu]) -> str:
    """How these are connected: `joined by NVLink, 450 GB/s one way`; "" where nothing is known."""
    found = pairs(gpus)
    if not found or not found[0].level:
        return ""
    farthest, nearest = found[0], found[-1]
    if farthest.kind in _DIRECT:
        return f"{_ALL[farthest.kind]}{_speed(farthest, nearest)}{_nodes(gpus)}"
    if nearest.kind in _DIRECT:
        rest = "others" if farthest.kind == "socket" else "all"
        return f"some {_ALL[nearest.kind]}, {rest} {_words(farthest, gpus)}"
    return _words(farthest, gpus)


def across_nodes(gpus: Sequence[Gpu]) -> bool:
    """Whether what one of these sends to another has to pass from NUMA node to NUMA node."""
    found = pairs(gpus)
    return bool(found) and found[0].kind == "socket"


def show_speed(bytes_per_s: float) -> str:
    """A bandwidth as makers write it, in decimal units: `450 GB/s`."""
    return f"{bytes_per_s / 1e9:.0f} GB/s"


def _speed(farthest: Nearness, nearest: Nearness) -> str:
    least = farthest.bandwidth_bytes_per_s
    if not least:
        return ""
    more = ", some faster" if nearest.bandwidth_bytes_per_s > least else ""
    return f", {show_speed(least)} one way{more}"


def _nodes(gpus: Sequence[Gpu]) -> str:
    nodes = {gpu.numa_node for gpu in gpus}
    if None in nodes:
        return ""
    return ", on one NUMA node" if len(nodes) == 1 else f", on {len(nodes)} NUMA nodes"


def _words(farthest: Nearness, gpus: Sequence[Gpu]) -> str:
    nodes = {gpu.numa_node for gpu in gpus} - {None}
    if farthest.kind == "socket" and len(nodes) > 1:
        return f"across {len(nodes)} NUMA nodes"
    return _ALL[farthest.kind]
