"""Reading a machine's nodes and CPUs, from trees as the kernel makes them on machines we have not.

They hold the files that are read, with what a kernel of that kind of machine writes into them.
"""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.numa import NumaNode, parse_list, show_list
from ollama_fleet.numa.sysfs import topology_in

STATUS = "Name:\tfleet\nMems_allowed_list:\t{}\n"


def tree(folder, nodes, *, threads=1, sockets=1, memory=None, online=None):
    """A sysfs: nodes by number with their CPUs, which are `threads` to a core as Linux counts.

    Linux counts the first threads of all cores first. CPUs are divided evenly among `sockets`.
    """
    cpus = sorted(cpu for of_node in nodes.values() for cpu in of_node)
    cores = len(cpus) // threads
    sockets_of = {cpu: (cpu % cores) * sockets // cores for cpu in cpus}
    online = cpus if online is None else online
    root = folder / "devices/system"
    (root / "node").mkdir(parents=True)
    (root / "node/online").write_text(show_list(nodes) + "\n")
    (root / "node/has_memory").write_text(show_list(nodes if memory is None else memory) + "\n")
    for number, of_node in nodes.items():
        (root / f"node/node{number}").mkdir()
        (root / f"node/node{number}/cpulist").write_text(show_list({*of_node} & {*online}) + "\n")
    for cpu in cpus:
        topology = root / f"cpu/cpu{cpu}/topology"
        topology.parent.mkdir(parents=True)
        if cpu in online:  # one that is offline has no such folder
            topology.mkdir()
            core = [other for other in online if other % cores == cpu % cores]
            socket = [other for other in online if sockets_of[other] == sockets_of[cpu]]
            (topology / "thread_siblings_list").write_text(show_list(core) + "\n")
            (topology / "core_siblings_list").write_text(show_list(socket) + "\n")
    return folder


def read(folder, allowed=range(512), memory="0-15"):
    return topology_in(folder, frozenset(allowed), STATUS.format(memory))


def test_two_sockets_of_two_clusters_each_are_four_nodes(tmp_path):
    """Sub-NUMA clustering of two: 32 cores of two threads, eight to a node."""
    nodes = {n: [*range(8 * n, 8 * n + 8), *range(32 + 8 * n, 40 + 8 * n)] for n in range(4)}
    found = read(tree(tmp_path, nodes, threads=2, sockets=2))
    assert found.nodes == tuple(NumaNode(n, tuple(cpus)) for n, cpus in nodes.items())
    assert found.cores == tuple((n, n + 32) for n in range(32))
    assert found.sockets == ((*range(16), *range(32, 48)), (*range(16, 32), *range(48, 64)))
    assert found.allowed_nodes == frozenset(range(16))


@pytest.mark.parametrize(
    ("nodes", "memory"),
    [
        ({0: range(4)}, [0]),
        ({0: range(20)}, [0]),  # six cores of two threads, eight of one: one node all the same
        ({0: range(8), 1: ()}, [0, 1]),  # memory behind CXL is a node without CPUs
    ],
)
def test_where_one_node_has_all_cpus_there_is_nothing_to_choose(nodes, memory, tmp_path):
    found = read(tree(tmp_path, nodes, memory=memory))
    assert (found.nodes, found.cores) == ((), ())


def test_a_node_without_cpus_is_memory_of_a_gpu_or_a_board_and_stays_known_as_that(tmp_path):
    """As on a GB200: two processors, and the memory of four GPUs as nodes 2, 10, 18 and 26."""
    nodes = {0: range(72), 1: range(72, 144), 2: (), 10: (), 18: (), 26: ()}
    found = read(tree(tmp_path, nodes, sockets=2), memory="0-1,2,10,18,26")
    assert [node.number for node in found.nodes] == [0, 1, 2, 10, 18, 26]
    assert [bool(node.cpus) for node in found.nodes] == [True] * 2 + [False] * 4
    assert len(found.cores) == 144


def test_a_node_may_have_cpus_and_no_memory(tmp_path):
    found = read(tree(tmp_path, {0: range(4), 1: range(4, 8)}, memory=[0]))
    assert [node.has_memory for node in found.nodes] == [True, False]


def test_cpus_that_are_offline_are_none(tmp_path):
    """Such as the second threads of cores where SMT is switched off while it runs."""
    nodes = {0: [0, 1, 4, 5], 1: [2, 3, 6, 7]}
    found = read(tree(tmp_path, nodes, threads=2, sockets=2, online=range(4)))
    assert [node.cpus for node in found.nodes] == [(0, 1), (2, 3)]
    assert found.cores == ((0,), (1,), (2,), (3,))


def test_a_container_is_told_of_the_whole_machine_and_of_its_own_part(tmp_path):
    found = read(tree(tmp_path, {0: range(4), 1: range(4, 8)}), allowed=(5, 6), memory="1")
    assert len(found.nodes) == 2
    assert (found.allowed_cpus, found.allowed_nodes) == ({5, 6}, {1})


def test_a_kernel_that_limits_nobody_to_nodes_leaves_all_of_them(tmp_path):
    """One without cpusets writes no such line."""
    folder = tree(tmp_path, {0: range(4), 1: range(4, 8)})
    assert topology_in(folder, frozenset(range(8)), "Name:\tfleet\n").allowed_nodes == {0, 1}


def test_an_old_kernel_that_says_less_is_taken_at_its_word(tmp_path):
    """Without folders of topology each CPU is a core and a socket of its own."""
    folder = tree(tmp_path, {0: range(2), 1: range(2, 4)})
    for file in folder.rglob("*_siblings_list"):
        file.unlink()
    assert read(folder).cores == ((0,), (1,), (2,), (3,))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x",
        b"3-",
        b"0-1-2",
        b"\0",
        b"4-1",
        b"-1",
        b"2 - 3",
        b"\xff\xfe",
        b"2-99999999999",
        b"2-" + b"9" * 5000,
    ],
)
def test_files_of_nonsense_are_as_if_they_were_not_there(content, tmp_path):
    folder = tree(tmp_path, {0: range(2), 1: range(2, 4)})
    (folder / "devices/system/node/node1/cpulist").write_bytes(content)
    assert read(folder).nodes == ()


def test_no_sysfs_is_no_node(tmp_path):
    assert read(tmp_path).nodes == ()


@given(st.sets(st.integers(0, 4095), max_size=60))
def test_a_list_that_was_written_is_read_as_it_was(numbers):
    assert set(parse_list(show_list(numbers))) == numbers


@given(st.sets(st.integers(0, 40)))
def test_a_list_is_as_short_as_the_kernel_writes_it(numbers):
    """Neighbours stand together, each number once, in order."""
    written = show_list(numbers)
    runs = [tuple(map(int, run.split("-"))) for run in written.split(",") if run]
    assert all(later[0] > run[-1] + 1 for run, later in pairwise(runs))
    assert all(len(run) == 1 or run[0] < run[1] for run in runs)
