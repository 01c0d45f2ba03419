"""On which CPUs an instance runs and from which memory it takes, by what is near to its GPUs. Pure.

A runner takes a thread for each physical core of the machine, whichever CPUs it may use, and its
threads wait for one another without sleeping: with more threads than CPUs all of them crawl. So
CPUs are bound only where the threads have room, or where the runner can be told their number.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from ollama_fleet.gpu import Gpu
from ollama_fleet.numa import NumaNode, Topology, show_list
from ollama_fleet.placement.spec import InstanceSpec, Placement

if TYPE_CHECKING:
    from ollama_fleet.config import Config, Settings

THREADS: Final = "LLAMA_ARG_THREADS"
"""The variable that tells a runner how many threads to take, where it is a llama-server."""

_ALONE: Final = "it is the only one of its group; a larger `count` gives each its part of them"
_OFFLOADS: Final = "its models may run in part on the CPU (`cpu_offload: true`), and want all of it"


@dataclass(frozen=True, slots=True)
class Binding:
    """The CPUs and memory nodes of an instance, all where empty, and why.

    `threads` is what its runners are to be told, 0 for nothing.
    """

    cpus: tuple[int, ...] = ()
    memory_nodes: tuple[int, ...] = ()
    threads: int = 0
    reasons: tuple[str, ...] = ()


def bound(placement: Placement, config: "Config", topology: Topology, *, told: bool) -> Placement:
    """The same with each of our instances kept to what is near to it, where its group wants that.

    `told`: runners take as many threads as `THREADS` says.
    """
    if not topology.nodes:
        return placement
    specs = {spec.name: spec for spec in placement.instances}
    for group in config.groups:
        settings = group.over(config.defaults)
        of_group = [spec for spec in specs.values() if spec.group == group.name]
        threads = _taken(settings, topology, told=told)
        wants_all = group.cpu_offload and len(of_group) == 1 and group.numa_bind is None
        for ordinal, spec in enumerate(of_group) if settings.numa_bind else ():
            part = (ordinal, len(of_group))
            near = bind(spec.gpus, part, topology, threads)
            specs[spec.name] = _with(spec, _unbound(_OFFLOADS) if wants_all else near)
    return replace(placement, instances=tuple(specs.values()))


def bind(gpus: Sequence[Gpu], part: tuple[int, int], topology: Topology, threads: int) -> Binding:
    """Where an instance is best kept: near to its GPUs, or in its part of the machine.

    `part`, for one without GPUs, is its number in its group, from 0, and how many there are.
    `threads` is how many its runners take by themselves, 0 where they take as many as they are
    told. On a machine of one node nothing is bound and nothing said.
    """
    if not topology.nodes:
        return Binding()
    if not gpus and part[1] == 1:
        return _unbound(_ALONE)
    nodes = _nearest(gpus, topology) if gpus else _part(*part, topology)
    cpus = _cpus_of(nodes, topology)
    if len(cpus) < threads:
        cpus = _sockets_of(cpus, topology)
    where = "nearest to its GPUs" if gpus else "in its part of the machine"
    why_not = _why_not(where, nodes, cpus, topology, threads)
    if why_not:
        return _unbound(why_not)
    return _bound(where, cpus, topology, told=not threads)


def told_by(gpus: Iterable[Gpu]) -> Topology:
    """The machine as its GPUs tell of it, for one that is simulated: nodes, and their CPUs."""
    cpus: dict[int, set[int]] = {}
    for gpu in gpus:
        if gpu.numa_node is not None and gpu.cpus:
            cpus.setdefault(gpu.numa_node, set()).update(gpu.cpus)
    if len(cpus) < 2:
        return Topology()
    return Topology(
        nodes=tuple(NumaNode(number, tuple(sorted(cpus[number]))) for number in sorted(cpus)),
        allowed_cpus=frozenset().union(*cpus.values()),
        allowed_nodes=frozenset(cpus),
    )


def _taken(settings: "Settings", topology: Topology, *, told: bool) -> int:
    """How many threads runners take by themselves, 0 where nothing keeps them from being told.

    A configuration that tells them 0 or -1 has them take as many as there are cores, too.
    """
    own = settings.env.get(THREADS) if told else ""
    if own is None:
        return 0
    return int(own) if own.isdecimal() and int(own) else len(topology.cores)


def _with(spec: InstanceSpec, binding: Binding) -> InstanceSpec:
    threads = {THREADS: str(binding.threads)} if binding.threads else {}
    return replace(
        spec,
        cpus=binding.cpus,
        memory_nodes=binding.memory_nodes,
        environment={**spec.environment, **threads},
        reasons=(*spec.reasons, *binding.reasons),
    )


def _bound(where: str, cpus: Sequence[int], topology: Topology, *, told: bool) -> Binding:
    near = [node for node in topology.nodes if not frozenset(cpus).isdisjoint(node.cpus)]
    memory = tuple(
        node.number for node in near if node.has_memory and node.number in topology.allowed_nodes
    )
    threads = topology.cores_of(cpus) if told else 0
    nodes = f"node{'s' if len(memory) > 1 else ''} {show_list(memory)}"
    from_where = f" and memory of {nodes}" if memory else ""
    reason = f"bound to CPUs {show_list(cpus)}{from_where}, {where}"
    many = (f"its runners take {threads} threads, a thread for each core of these",)
    return Binding(tuple(cpus), memory, threads, (reason, *(many if threads else ())))


def _unbound(why: str) -> Binding:
    return Binding(reasons=(f"not bound to CPUs: {why}",))


def _why_not(
    where: str, nodes: Sequence[int], cpus: Sequence[int], topology: Topology, threads: int
) -> str:
    """Why an instance is not to be bound to these CPUs, "" if it is."""
    if not nodes:
        return f"nothing says which are {where}"
    if not cpus:
        return f"the fleet may use none of those {where}"
    if len(cpus) < threads:
        return f"its runners take {threads} threads, and the {len(cpus)} {where} are too few"
    if topology.allowed_cpus <= frozenset(cpus):
        return f"those {where} are all there are"
    return ""


# -- which nodes -----------------------------------------------------------------------------------


def _nearest(gpus: Iterable[Gpu], topology: Topology) -> tuple[int, ...]:
    """The nodes with CPUs that are near to these GPUs; none if that is not known of each."""
    near: set[int] = set()
    for gpu in gpus:
        nodes = _near_to(gpu, topology)
        if not nodes:
            return ()
        near |= nodes
    return tuple(sorted(near))


def _near_to(gpu: Gpu, topology: Topology) -> set[int]:
    """Its own node, or those of the CPUs that its driver names; the memory of a GPU may be a node.

    A driver that names the CPUs of all nodes says nothing.
    """
    with_cpus = {node.number: node.cpus for node in topology.nodes if node.cpus}
    if gpu.numa_node in with_cpus:
        return {gpu.numa_node}
    named = {number for number, cpus in with_cpus.items() if not set(cpus).isdisjoint(gpu.cpus)}
    return named if len(named) < len(with_cpus) else set()


def _part(ordinal: int, count: int, topology: Topology) -> tuple[int, ...]:
    """The nodes of one of `count` instances on the CPU: as even as can be, each whole.

    Only those count of which the fleet may use a CPU.
    """
    nodes = [n.number for n in topology.nodes if not topology.allowed_cpus.isdisjoint(n.cpus)]
    first, last = (i * len(nodes) // count for i in (ordinal, ordinal + 1))
    return tuple(nodes[first : max(last, first + 1)])


def _cpus_of(nodes: Sequence[int], topology: Topology) -> tuple[int, ...]:
    """The CPUs of these nodes that the fleet may use."""
    cpus = {cpu for node in topology.nodes if node.number in nodes for cpu in node.cpus}
    return tuple(sorted(cpus & topology.allowed_cpus))


def _sockets_of(cpus: Iterable[int], topology: Topology) -> tuple[int, ...]:
    """The CPUs of the sockets that these are on, those that the fleet may use."""
    wanted = set(cpus)
    for socket in topology.sockets:
        if not wanted.isdisjoint(socket):
            wanted.update(socket)
    return tuple(sorted(wanted & topology.allowed_cpus))
