"""On which CPUs instances run: what is near to their GPUs, and when they are left alone."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from numa_fixtures import TWO_SOCKETS, card, machine

from ollama_fleet.numa import NumaNode, Topology
from ollama_fleet.placement.binding import bind

TOLD = 0


def on(gpus, topology=TWO_SOCKETS, threads=TOLD):
    return bind(gpus, (0, 1), topology, threads)


def reason(binding):
    return binding.reasons[0]


# -- near to its GPUs ------------------------------------------------------------------------------


def test_an_instance_runs_on_the_node_of_its_gpu_and_takes_its_memory_there():
    found = on([card(0, node=1)])
    assert found.cpus == (*range(8, 16), *range(24, 32))
    assert found.memory_nodes == (1,)
    assert found.reasons == (
        "bound to CPUs 8-15,24-31 and memory of node 1, nearest to its GPUs",
        "its runners take 8 threads, a thread for each core of these",
    )


def test_gpus_of_two_nodes_of_four_have_the_cpus_of_both():
    found = on([card(0, node=0), card(1, node=2)], machine(4, sockets=4))
    assert found.memory_nodes == (0, 2)
    assert set(found.cpus) == {*machine(4).nodes[0].cpus, *machine(4).nodes[2].cpus}
    assert "memory of nodes 0,2" in reason(found)


def test_a_gpu_that_names_no_node_is_near_to_the_cpus_its_driver_names():
    assert on([card(0, cpus=range(8, 12))]).memory_nodes == (1,)


def test_the_memory_of_a_gpu_is_not_the_node_its_instance_is_bound_to():
    """On a GB200 it is a node of its own, which has no CPUs."""
    grace = replace(TWO_SOCKETS, nodes=(*TWO_SOCKETS.nodes, NumaNode(9)))
    assert on([card(0, node=9, cpus=range(8))], grace).memory_nodes == (0,)
    assert on([card(0, node=9)], grace).cpus == ()


@pytest.mark.parametrize(
    "gpus",
    [
        [card(0)],
        [card(0, node=0), card(1)],
        [card(0, node=7)],
        [card(0, cpus=range(32))],  # all: a virtual machine that hides where the card is
    ],
)
def test_an_instance_of_which_it_is_not_known_is_left_alone(gpus):
    found = on(gpus)
    assert (found.cpus, found.memory_nodes) == ((), ())
    assert reason(found) == "not bound to CPUs: nothing says which are nearest to its GPUs"


def test_gpus_on_all_sockets_leave_nothing_to_bind():
    found = on([card(0, node=0), card(1, node=1)])
    assert found.cpus == ()
    assert reason(found) == "not bound to CPUs: those nearest to its GPUs are all there are"


def test_a_node_without_memory_gives_its_cpus_only():
    bare = replace(
        TWO_SOCKETS, nodes=(TWO_SOCKETS.nodes[0], replace(TWO_SOCKETS.nodes[1], has_memory=False))
    )
    found = on([card(0, node=1)], bare)
    assert (len(found.cpus), found.memory_nodes) == (16, ())
    assert reason(found) == "bound to CPUs 8-15,24-31, nearest to its GPUs"


def test_on_a_machine_of_one_node_nothing_is_bound_and_nothing_said():
    assert on([card(0, node=0)], Topology()).reasons == ()


# -- what the fleet may use ------------------------------------------------------------------------


def test_the_cpus_of_a_container_bound_those_of_its_instances():
    own = replace(TWO_SOCKETS, allowed_cpus=frozenset(range(6, 12)), allowed_nodes=frozenset({0}))
    found = on([card(0, node=1)], own)
    assert (found.cpus, found.memory_nodes) == ((8, 9, 10, 11), ())


def test_a_container_without_the_near_cpus_binds_nothing_and_says_so():
    own = replace(TWO_SOCKETS, allowed_cpus=frozenset(range(8)))
    found = on([card(0, node=1)], own)
    assert found.cpus == ()
    assert reason(found) == (
        "not bound to CPUs: the fleet may use none of those nearest to its GPUs"
    )


def test_of_a_socket_too_only_those_that_the_fleet_may_use():
    clusters = machine(4)
    own = replace(clusters, allowed_cpus=clusters.allowed_cpus - {16})
    found = on([card(0, node=3)], own, threads=len(clusters.cores) - 1)
    assert set(found.cpus) == {*clusters.nodes[2].cpus, *clusters.nodes[3].cpus} - {16}


def test_nodes_that_the_fleet_may_not_use_are_no_part_for_an_instance_on_the_cpu():
    four = machine(4)
    own = replace(four, allowed_cpus=frozenset({*four.nodes[1].cpus, *four.nodes[3].cpus}))
    parts = [bind((), (n, 2), own, TOLD) for n in range(2)]
    assert [part.memory_nodes for part in parts] == [(1,), (3,)]


# -- threads ---------------------------------------------------------------------------------------


def test_runners_that_count_the_cores_of_the_machine_have_room_where_cores_have_two_threads():
    """A thread for each of 16 cores, on the 16 CPUs of eight of them."""
    found = on([card(0, node=1)], threads=len(TWO_SOCKETS.cores))
    assert len(found.cpus) == 16
    assert found.threads == 0


def test_where_their_threads_would_have_no_room_nothing_is_bound():
    """Without SMT half of the CPUs are half of the cores: two threads would share each."""
    found = on([card(0, node=1)], machine(threads=1), threads=16)
    assert found.cpus == ()
    assert reason(found) == (
        "not bound to CPUs: its runners take 16 threads, and the 8 nearest to its GPUs are too few"
    )


def test_a_node_that_is_too_small_for_their_threads_is_widened_to_its_socket():
    clusters = machine(4)
    found = on([card(0, node=3)], clusters, threads=len(clusters.cores))
    assert set(found.cpus) == {*clusters.nodes[2].cpus, *clusters.nodes[3].cpus}
    assert found.memory_nodes == (2, 3)


def test_threads_that_just_fill_a_node_need_no_more_of_its_socket():
    clusters = machine(4)
    assert on([card(0, node=3)], clusters, threads=16).memory_nodes == (3,)


# -- on the CPU ------------------------------------------------------------------------------------


def test_instances_on_the_cpu_share_the_nodes_out_and_one_alone_has_all():
    parts = [bind((), (n, 2), TWO_SOCKETS, TOLD) for n in range(2)]
    assert [part.memory_nodes for part in parts] == [(0,), (1,)]
    assert "in its part of the machine" in reason(parts[0])
    alone = on(())
    assert alone.cpus == ()
    assert "it is the only one of its group" in reason(alone)


@given(count=st.integers(2, 20), nodes=st.integers(2, 9))
def test_parts_are_as_even_as_can_be(count, nodes):
    """Each has whole nodes, all nodes have somebody, and no node has two more than another."""
    topology = machine(nodes, 2, sockets=1)
    of_nodes = [bind((), (n, count), topology, TOLD).memory_nodes for n in range(count)]
    users = [sum(n in of for of in of_nodes) for n in range(nodes)]
    assert all(of_nodes)
    assert max(users) - min(users) <= 1
    assert max(map(len, of_nodes)) - min(map(len, of_nodes)) <= 1
    assert sum(users) == max(count, nodes)


# -- laws ------------------------------------------------------------------------------------------


@st.composite
def boxes(draw):
    nodes = draw(st.sampled_from([2, 4, 8]))
    topology = machine(
        nodes,
        draw(st.integers(1, 4)),
        threads=draw(st.integers(1, 2)),
        sockets=draw(st.sampled_from([1, 2])),
    )
    every = sorted(topology.allowed_cpus)
    own = draw(st.sets(st.sampled_from(every), min_size=1)) if draw(st.booleans()) else every
    return replace(topology, allowed_cpus=frozenset(own))


@given(boxes(), st.data())
def test_what_is_bound_may_be_used_is_near_and_holds_the_threads(topology, data):
    """Never a CPU that the fleet may not use, never all of them, always some of each GPU's node."""
    known = st.sampled_from([node.number for node in topology.nodes])
    nodes = data.draw(st.lists(known, min_size=1, max_size=4))
    threads = data.draw(st.sampled_from([TOLD, len(topology.cores)]))
    found = on([card(n, node=node) for n, node in enumerate(nodes)], topology, threads)
    assert len(found.reasons) in {1, 2}
    if not found.cpus:
        assert found.memory_nodes == ()
        assert found.reasons[0].startswith("not bound to CPUs: ")
        return
    cpus = set(found.cpus)
    assert cpus < topology.allowed_cpus
    assert len(cpus) >= threads
    for node in nodes:
        near = set(topology.nodes[node].cpus) & topology.allowed_cpus
        assert near <= cpus
    with_cpus = {node.number for node in topology.nodes if cpus & set(node.cpus)}
    assert set(found.memory_nodes) == with_cpus
    assert found.threads in {0, topology.cores_of(cpus)}
    assert bool(found.threads) is not bool(threads)
