"""Which instances and models a command means, and what it is told where there are none."""

import pytest
from fleet_fixtures import fleet, hold

from ollama_fleet.control import targets
from ollama_fleet.errors import FleetError
from ollama_fleet.names import canonical
from ollama_fleet.placement import InstanceSpec, Placement
from ollama_fleet.state import State


def grouped():
    """Two instances of group big, one of small; all hold nothing."""
    of = {"big-0": "big", "big-1": "big", "small": "small"}
    return State(Placement(tuple(InstanceSpec(n, g, "h", 1, 1, "/s") for n, g in of.items())))


def names(instances):
    return [instance.name for instance in instances]


@pytest.mark.parametrize(
    ("on", "meant"),
    [
        ((), ["big-0", "big-1", "small"]),
        (("big",), ["big-0", "big-1"]),
        (("small", "big-1", "big-1"), ["big-1", "small"]),
        (("big", "big-0"), ["big-0", "big-1"]),
    ],
)
def test_names_of_groups_and_instances_mean_each_once_in_the_fleets_order(on, meant):
    assert names(targets.named(grouped(), on)) == meant


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("bog", "did you mean big?"),
        ("attic", "there are big-0, big-1, small; groups: big"),
        ("big-7", "did you mean big-0 or big-1?"),
    ],
)
def test_a_name_that_is_not_there_is_refused_with_the_nearest_or_with_all(name, hint):
    with pytest.raises(FleetError) as refused:
        targets.named(grouped(), ["big", name])
    assert refused.value.reason == f"no instance or group is called {name}"
    assert refused.value.hint == hint


def test_where_each_instance_is_a_group_of_its_own_name_none_is_told_twice():
    with pytest.raises(FleetError) as refused:
        targets.named(fleet("aaa", "bbb", "ccc"), ["zzz"])
    assert refused.value.hint.count("aaa") == 1


def test_without_names_all_are_meant_that_have_the_model_and_may_serve_it():
    state = fleet("a", "b", "c", routes={canonical("m"): frozenset("ab")})
    hold(state, state.instances["b"])
    assert names(targets.serving(state, "m")) == ["a"]
    assert names(targets.serving(state, "m", ["b", "c"])) == ["b", "c"]


def test_a_model_that_nobody_may_serve_is_refused_with_where_it_is():
    state = fleet("a", routes={canonical("m"): frozenset()})
    with pytest.raises(FleetError) as refused:
        targets.serving(state, "m")
    assert refused.value.hint == "it is on a"


def test_what_an_instance_that_is_not_up_has_is_not_denied():
    """Soon after its start a fleet knows of no models; to download one would be a bad advice."""
    with pytest.raises(FleetError) as refused:
        targets.known_key(grouped(), "m")
    assert refused.value.reason == "no instance is known to have a model m"
    assert "big-0, big-1, small" in refused.value.hint


@pytest.mark.parametrize(
    ("asked", "hint"),
    [
        ("lama3:8b", "did you mean Llama3:8b?"),
        ("LAMA3", "did you mean Llama3:8b?"),
        ("wen", "did you mean qwen?"),
        ("entirely-else", "`fleet pull entirely-else` downloads it"),
    ],
)
def test_a_model_that_is_not_there_is_refused_with_one_that_is_alike(asked, hint):
    state = fleet("a", models=("Llama3:8b", "qwen"))
    with pytest.raises(FleetError) as refused:
        targets.known_key(state, asked)
    assert (refused.value.reason, refused.value.hint) == (f"no instance has a model {asked}", hint)


def test_what_is_no_name_is_refused():
    with pytest.raises(FleetError, match="is not a model name"):
        targets.known_key(fleet("a"), "a b/../c")
