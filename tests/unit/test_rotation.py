"""An instance out of rotation: nothing new is given to it, all that it has goes on."""

import dataclasses
import random

import pytest
from fleet_fixtures import asks, fleet, resident, strategy
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.control.events.phases import of_drain
from ollama_fleet.names import canonical
from ollama_fleet.router.plan import Choose, plan
from ollama_fleet.router.queue import Waiter
from ollama_fleet.state import Health, Kind, Phase

M = canonical("m")


def chosen(state, name="adaptive"):
    waiter = Waiter(1, asks())
    told = plan([waiter], state, strategy(name), random.Random(1), 0.0)
    return [action.instance.name for action in told if isinstance(action, Choose)]


def test_nothing_new_is_given_to_a_drained_instance_and_what_it_has_goes_on():
    state = fleet("a", "b")
    a, b = state.instances.values()
    for instance in (a, b):
        state.set_resident(instance, [resident("m")])
    lease = state.lease(a, M)
    state.drain(a, "new power supply")
    assert a.healthy
    assert not a.in_rotation
    assert state.ready(M) == [b] == state.free(M, ())
    assert chosen(state) == ["b"]
    assert a.in_flight == 1
    lease.release()
    assert state.free(M, ()) == [b], "a slot that comes free there is nobody's"
    state.undrain(a)
    assert state.ready(M) == [a, b] == state.free(M, ())


@pytest.mark.parametrize("strategy_name", ["adaptive", "round_robin", "late_least_conn"])
def test_where_all_are_drained_a_request_waits(strategy_name):
    state = fleet("a")
    state.drain(state.instances["a"], "no reason")
    assert chosen(state, strategy_name) == []


@given(
    st.lists(
        st.tuples(
            st.sampled_from("ab"),
            st.sampled_from(["drain", "undrain", "ready", "down", "silent", "answers", "models"]),
        )
    )
)
def test_who_may_be_asked_is_who_is_in_rotation_whatever_came_before(steps):
    state = fleet("a", "b")
    for name, step in steps:
        instance = state.instances[name]
        match step:
            case "drain":
                state.drain(instance, "why")
            case "undrain":
                state.undrain(instance)
            case "ready" | "down":
                state.set_phase(instance, Phase.READY if step == "ready" else Phase.BACKOFF, 0.0)
            case "silent" | "answers":
                silent = step == "silent"
                state.set_health(instance, Health.UNHEALTHY if silent else Health.HEALTHY)
            case "models":
                state.set_resident(instance, [resident("m")])
    allowed = [i for i in state.instances.values() if i.in_rotation]
    assert list(state.ready(M)) == allowed
    assert set(state.free(M, ())) <= set(allowed)


def test_a_drain_outlasts_a_restart_of_its_instance():
    state = fleet("a")
    a = state.instances["a"]
    state.drain(a, "why")
    for phase in (Phase.DRAINING, Phase.STOPPING, Phase.STARTING, Phase.READY):
        state.set_phase(a, phase, 1.0)
    assert a.drain == "why"
    assert not state.ready(M)


def test_whoever_listens_is_told_once_of_each_change():
    state = fleet("a")
    a, told, changes = state.instances["a"], [], []
    state.on_drain.append(lambda instance, before: told.append((instance.name, before)))
    state.on_change.append(lambda: changes.append(a.in_rotation))
    state.drain(a, "one")
    state.drain(a, "one")
    state.drain(a, "two")
    state.undrain(a)
    state.undrain(a)
    assert told == [("a", None), ("a", "one"), ("a", "two")]
    assert changes == [False, False, True]


def test_an_event_says_why_and_how_much_is_still_there():
    state = fleet("a")
    a = state.instances["a"]
    state.lease(a, M)
    state.drain(a, "GPU lost")
    (drained,) = of_drain(a)
    assert drained.kind is Kind.INSTANCE_DRAINED
    assert "GPU lost" in drained.text
    assert dataclasses.asdict(drained)["figures"] == {"reason": "GPU lost", "in_flight": 1}
    state.undrain(a)
    (back,) = of_drain(a)
    assert back.kind is Kind.INSTANCE_UNDRAINED
