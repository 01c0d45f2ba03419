"""Whom an operator may take out of rotation."""

import pytest
from fleet_fixtures import fleet

from ollama_fleet.control.drains import ASKED, drain, undrain
from ollama_fleet.errors import FleetError
from ollama_fleet.names import canonical
from ollama_fleet.state import Phase


def drains(state):
    return {i.name: i.drain for i in state.instances.values()}


def test_who_is_named_leaves_and_says_why():
    state = fleet("a", "b", "c")
    assert [i.name for i in drain(state, ["c", "a"])] == ["a", "c"]
    assert drains(state) == {"a": ASKED, "b": None, "c": ASKED}
    drain(state, ["a"], reason="new fan")
    assert state.instances["a"].drain == "new fan"
    assert [i.name for i in undrain(state, ["a"])] == ["a"]
    assert drains(state) == {"a": None, "b": None, "c": ASKED}


def test_a_reason_is_a_line_and_no_book():
    state = fleet("a", "b")
    with pytest.raises(FleetError, match="the reason has 201 characters"):
        drain(state, ["a"], reason="x" * 201)
    assert drains(state) == {"a": None, "b": None}
    drain(state, ["a"], reason="x" * 200)
    assert drains(state) == {"a": "x" * 200, "b": None}


def test_a_group_names_its_instances():
    state = fleet("a", "b")
    drain(state, ["g"], force=True)
    assert drains(state) == {"a": ASKED, "b": ASKED}


@pytest.mark.parametrize("out", ["drained", "down"])
def test_the_last_one_that_takes_requests_stays_unless_forced(out):
    state = fleet("a", "b")
    if out == "drained":
        drain(state, ["b"])
    else:
        state.set_phase(state.instances["b"], Phase.BACKOFF, 0.0)
    with pytest.raises(FleetError, match="nobody would be left"):
        drain(state, ["a"])
    assert state.instances["a"].drain is None
    drain(state, ["a"], force=True)
    assert state.instances["a"].drain == ASKED


def test_the_last_one_that_may_serve_a_model_stays_unless_forced():
    state = fleet("a", "b", routes={canonical("m"): frozenset("a")})
    with pytest.raises(FleetError, match="nobody else may serve m than a"):
        drain(state, ["a"])
    drain(state, ["b"])
    assert drains(state) == {"a": None, "b": ASKED}


def test_one_that_takes_no_requests_anyway_is_drained_without_a_word():
    state = fleet("a", "b")
    state.set_phase(state.instances["a"], Phase.FAILED, 0.0)
    drain(state, ["a"])
    assert state.instances["a"].drain == ASKED


def test_nobody_is_drained_if_one_of_the_names_is_nobodys():
    state = fleet("a", "b")
    with pytest.raises(FleetError, match="no instance or group is called nix"):
        drain(state, ["a", "nix"])
    assert drains(state) == {"a": None, "b": None}
