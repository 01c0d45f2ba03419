"""The GPUs as ROCm's driver in the kernel lists them: the nodes of KFD's topology.

The format is that of the kernel's drivers/gpu/drm/amd/amdkfd/kfd_topology.c: a folder per node,
`properties` with a line for each. CPUs are nodes too. ROCm's runtime (libhsakmt, topology.c) gives
the GPUs among them numbers in the order of the folders, leaving out what this process may not see;
that number is what ROCR_VISIBLE_DEVICES takes where a card has no unique id.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ollama_fleet.gpu import sysfs
from ollama_fleet.gpu.amd.tree import Tree

XGMI: Final = 11  # of a link: AMD's own, from card to card
_MEGABYTE: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class NodeLink:
    """A link to another node of the topology; bytes per second, 0 where the kernel is too old."""

    node: int
    kind: int
    bandwidth_bytes_per_s: int


@dataclass(frozen=True, slots=True)
class Node:
    """A GPU, or a part of one that ROCm takes for a GPU. `unique_id` is 0 where there is none.

    `order` is its number in ROCm's runtime, `location` bus and function on the PCI bus,
    `memory_bytes` what programs can have of it: of an integrated one also memory of the system.
    """

    number: int
    order: int
    gpu_id: int
    codename: str
    architecture: str
    unique_id: int
    device_id: int
    domain: int
    location: int
    render_minor: int
    has_cpus: bool
    memory_bytes: int
    links: tuple[NodeLink, ...] = ()


def read_nodes(tree: Tree) -> tuple[Node, ...]:
    """The GPUs that this process may see, in ROCm's order."""
    found: list[Node] = []
    folder = tree.kfd / "topology" / "nodes"
    for name in sysfs.names(folder):
        number = sysfs.parse_number(name)
        if number is not None and number >= 0:
            node = _read_node(folder / name, number, len(found))
            if node is not None and _is_handed_in(tree, node):
                found.append(node)
    return tuple(found)


def architecture(version: int) -> str:
    """The compilers' name for a `gfx_target_version`: 90402 is gfx942, 90010 gfx90a, 0 none."""
    major, minor, step = version // 10000, version // 100 % 100, version % 100
    if major <= 0 or minor > 15 or step > 15:
        return ""
    return f"gfx{major}{minor:x}{step:x}"


def _read_node(folder: Path, number: int, order: int) -> Node | None:
    """None for a CPU, and for a GPU that a container's devices do not include (EPERM)."""
    gpu_id = sysfs.number(folder / "gpu_id")
    told = sysfs.properties(folder / "properties")
    if not gpu_id or not told.get("simd_count"):
        return None
    return Node(
        number=number,
        order=order,
        gpu_id=gpu_id,
        codename=sysfs.line(folder / "name"),
        architecture=architecture(told.get("gfx_target_version", 0)),
        unique_id=max(0, told.get("unique_id", 0)),
        device_id=told.get("device_id", 0),
        domain=told.get("domain", 0),
        location=told.get("location_id", 0) & 0xFFFF,  # newer kernels put the partition above
        render_minor=told.get("drm_render_minor", 0),
        has_cpus=told.get("cpu_cores_count", 0) > 0,
        memory_bytes=sum(_sizes(folder / "mem_banks")),
        links=tuple(_links(folder / "io_links")),
    )


def _is_handed_in(tree: Tree, node: Node) -> bool:
    """Whether a container has the card's device node: the runtime leaves out what it has not."""
    return not node.render_minor or sysfs.exists(tree.render_node(node.render_minor))


def _sizes(banks: Path) -> Iterator[int]:
    for name in sysfs.names(banks):
        yield max(0, sysfs.properties(banks / name / "properties").get("size_in_bytes", 0))


def _links(folder: Path) -> Iterator[NodeLink]:
    for name in sysfs.names(folder):
        told = sysfs.properties(folder / name / "properties")
        if "node_to" in told:
            megabytes_per_s = max(0, told.get("max_bandwidth", 0))
            yield NodeLink(told["node_to"], told.get("type", 0), megabytes_per_s * _MEGABYTE)
