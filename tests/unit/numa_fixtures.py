"""Machines of several memory nodes, and cards that hang on them."""

from ollama_fleet.gpu import Gpu, Vendor
from ollama_fleet.numa import NumaNode, Topology


def card(index, node=None, cpus=()):
    return Gpu(
        f"GPU-{index}",
        index,
        "H100",
        Vendor.NVIDIA,
        80 * 2**30,
        numa_node=node,
        cpus=tuple(cpus),
    )


def machine(nodes=2, cores=8, *, threads=2, sockets=2):
    """Nodes of so many cores, each of so many threads; the first threads of all count first."""
    total = nodes * cores
    each = [range(n * cores, (n + 1) * cores) for n in range(nodes)]
    with_threads = [tuple(c + t * total for t in range(threads) for c in of) for of in each]
    per_socket = nodes // sockets
    return Topology(
        nodes=tuple(NumaNode(n, cpus) for n, cpus in enumerate(with_threads)),
        cores=tuple(tuple(c + t * total for t in range(threads)) for c in range(total)),
        sockets=tuple(
            tuple(cpu for of in with_threads[s * per_socket : (s + 1) * per_socket] for cpu in of)
            for s in range(sockets)
        ),
        allowed_cpus=frozenset(range(total * threads)),
        allowed_nodes=frozenset(range(nodes)),
    )


TWO_SOCKETS = machine()
