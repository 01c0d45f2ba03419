"""What each instance of a fleet is bound to, and what a group says about it."""

import pytest
from numa_fixtures import TWO_SOCKETS, card, machine

from ollama_fleet.config import Config
from ollama_fleet.numa import Topology
from ollama_fleet.placement import InstanceSpec, Placement
from ollama_fleet.placement.binding import THREADS, bind, bound, told_by
from ollama_fleet.placement.changes import changes


def spec(name, group="g", gpus=(), **attributes):
    return InstanceSpec(
        name, group, "127.0.0.1", 1, 1, "/", gpus=gpus, reasons=("because",), **attributes
    )


def fleet(groups, *, told=True, defaults=(), on=TWO_SOCKETS):
    """Each group on as many of the cards as it says, an instance on each."""
    config = Config.model_validate({"groups": groups, "defaults": dict(defaults)})
    specs = [
        spec(f"{group.name}-{n}", group.name, (CARDS[n],), environment=dict(group.env))
        for group in config.groups
        for n in group.gpus
    ]
    return bound(Placement(tuple(specs)), config, on, told=told).instances


CARDS = tuple(card(n, node=n // 2) for n in range(4))


def test_each_instance_is_told_what_is_bound_and_why():
    found = fleet([{"name": "g", "gpus": [0, 1, 2, 3]}])
    assert [spec.memory_nodes for spec in found] == [(0,), (0,), (1,), (1,)]
    assert all(spec.environment[THREADS] == "8" for spec in found)
    assert all("bound to CPUs" in " ".join(spec.reasons) for spec in found)


def test_an_ollama_that_heeds_no_variable_is_told_none():
    found = fleet([{"name": "g", "gpus": [0, 1, 2, 3]}], told=False)
    assert all(spec.cpus and THREADS not in spec.environment for spec in found)


def test_a_number_of_threads_that_the_configuration_says_stands():
    """It is what has to have room then."""
    few, many = (fleet([{"name": "g", "gpus": [0], "env": {THREADS: str(n)}}])[0] for n in (12, 20))
    assert (len(few.cpus), few.environment[THREADS]) == (16, "12")
    assert (many.cpus, many.environment[THREADS]) == ((), "20")


@pytest.mark.parametrize("number", ["0", "-1"])
def test_a_number_by_which_runners_count_the_cores_stands_too(number):
    """For llama-server either is a thread for each core of the machine: they fill these 16 CPUs."""
    (found,) = fleet([{"name": "g", "gpus": [0], "env": {THREADS: number}}])
    assert (len(found.cpus), found.environment[THREADS]) == (16, number)
    (found,) = fleet([{"name": "g", "gpus": [0], "env": {THREADS: number}}], on=machine(threads=1))
    assert (found.cpus, found.environment[THREADS]) == ((), number)


def test_the_key_switches_it_off_in_a_group_or_for_all():
    named = [{"name": "a", "gpus": [0], "numa_bind": False}, {"name": "b", "gpus": [1]}]
    one, other = fleet(named)
    assert (one.cpus, bool(other.cpus)) == ((), True)
    assert not any("bound" in reason for reason in one.reasons)
    off = fleet(named[1:], defaults={"numa_bind": False})
    assert off[0].cpus == ()


def test_one_whose_models_run_in_part_on_the_cpu_has_all_of_it_unless_the_group_says_otherwise():
    """Several of a group would be in each other's way."""
    group = {"name": "a", "gpus": [0], "cpu_offload": True}
    (one,) = fleet([group])
    assert (one.cpus, "cpu_offload" in one.reasons[-1]) == ((), True)
    assert all(spec.cpus for spec in fleet([{**group, "numa_bind": True}]))
    assert all(spec.cpus for spec in fleet([{**group, "gpus": [0, 3]}]))


def test_a_reload_that_changes_the_key_restarts_just_those_it_is_about():
    named = [{"name": "a", "gpus": [0]}, {"name": "b", "gpus": [1]}]
    now = fleet(named)
    wanted = fleet([{**named[0], "numa_bind": False}, named[1]])
    assert [renewal.new.name for renewal in changes(now, wanted).renewed] == ["a-0"]


def test_who_is_not_ours_is_bound_to_nothing():
    strange = spec("x", "", external=True)
    kept = bound(Placement((strange,)), Config(), TWO_SOCKETS, told=True)
    assert kept.instances == (strange,)


def test_a_simulated_machine_has_the_nodes_that_its_gpus_tell_of():
    gpus = [card(0, 0, range(4)), card(1, 0, range(4)), card(2, 1, range(4, 8)), card(3)]
    found = told_by(gpus)
    assert [node.cpus for node in found.nodes] == [(0, 1, 2, 3), (4, 5, 6, 7)]
    assert bind(gpus[2:3], (0, 1), found, 0).cpus == (4, 5, 6, 7)
    assert told_by(gpus[:2]) == told_by(()) == Topology()
    assert told_by([card(0, 0, range(4)), card(1, 1)]) == Topology()
