"""Reads the memory nodes and CPUs of this machine from sysfs.

The files are those of the kernel's Documentation/ABI/stable/sysfs-devices-node and
Documentation/admin-guide/cputopology.rst. What cannot be read is left out.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from ollama_fleet.numa import NumaNode, Topology, parse_list

_SYSFS = Path("/sys")
_STATUS = Path("/proc/self/status")


def read_topology() -> Topology:
    """This machine's; empty on a system other than Linux."""
    try:
        allowed = frozenset(os.sched_getaffinity(0))
        status = _STATUS.read_text(errors="replace")  # a process may be called anything
    except (AttributeError, OSError):
        return Topology()
    return topology_in(_SYSFS, allowed, status)


def topology_in(sysfs: Path, allowed_cpus: frozenset[int], status: str) -> Topology:
    """What a sysfs says; `allowed_cpus` and `status` (/proc/PID/status) are those of the fleet.

    A container sees the sysfs of its host, but may not use all of it.
    """
    nodes = tuple(_nodes(sysfs / "devices/system/node"))
    online = {cpu for node in nodes for cpu in node.cpus}
    if sum(1 for node in nodes if node.cpus) < 2:
        return Topology()
    cpus = sysfs / "devices/system/cpu"
    return Topology(
        nodes=nodes,
        cores=tuple(_sharing(cpus, online, "thread_siblings_list")),
        sockets=tuple(_sharing(cpus, online, "core_siblings_list")),
        allowed_cpus=allowed_cpus,
        allowed_nodes=frozenset(_allowed_nodes(status) or [node.number for node in nodes]),
    )


def _nodes(folder: Path) -> Iterator[NumaNode]:
    numbers = _list(folder / "online")
    with_memory = _list(folder / "has_memory")
    for number in numbers:
        cpus = _list(folder / f"node{number}" / "cpulist")
        yield NumaNode(number, cpus, number in with_memory)


def _sharing(folder: Path, online: set[int], name: str) -> Iterator[tuple[int, ...]]:
    """The CPUs that share a core, or a socket, each once."""
    left = set(online)
    while left:
        first = min(left)
        together = {first, *_list(folder / f"cpu{first}" / "topology" / name)}
        left -= together
        yield tuple(sorted(together))


def _allowed_nodes(status: str) -> tuple[int, ...]:
    for line in status.splitlines():
        name, _, value = line.partition(":")
        if name == "Mems_allowed_list":
            return parse_list(value)
    return ()


def _list(path: Path) -> tuple[int, ...]:
    try:
        return parse_list(path.read_text(errors="replace"))
    except OSError:
        return ()
