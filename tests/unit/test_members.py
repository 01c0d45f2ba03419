"""Instances that join and leave a running fleet, and specs that change."""

from dataclasses import replace

from fleet_fixtures import fleet, hold, resident, spec
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.names import canonical
from ollama_fleet.placement import Placement
from ollama_fleet.state import Phase, State

M = canonical("m")


def up(state, name):
    instance = state.join(spec(name))
    state.set_phase(instance, Phase.READY, 0.0)
    hold(state, instance, "m")
    return instance


def put(state, old):
    """Another in its place, which comes up."""
    instance = state.succeed(old, spec("b"))
    state.set_phase(instance, Phase.READY, 0.0)
    return instance


def test_one_that_joins_is_asked_as_the_others_are():
    state = fleet("a")
    b = up(state, "b")
    state.set_resident(b, [resident("m")])
    assert list(state.ready(M)) == [state.instances["a"], b]
    assert list(state.free(M, ())) == [b]


def test_one_that_has_left_is_nowhere_and_its_last_request_may_end():
    state = fleet("a", "b")
    a, b = state.instances.values()
    state.set_resident(a, [resident("m")])
    lease = state.lease(a, M)
    left = []
    state.on_left.append(left.append)
    state.leave(a)
    assert left == [a]
    assert list(state.instances.values()) == list(state.holders(M)) == list(state.ready(M)) == [b]
    lease.release()
    assert a.in_flight == 0
    assert not state.free(M, ())
    assert not state.residents(a.residency(M).weights)


def test_one_that_takes_anothers_place_stands_where_it_stood_and_has_none_of_its_past():
    state = fleet("a", "b", "c")
    old = state.instances["b"]
    state.lease(old, M).release()
    state.drain(old, "why")
    new = put(state, old)
    assert list(state.instances) == ["a", "b", "c"]
    assert (new.requests, new.drain) == (0, "why")
    assert [i.name for i in state.ready(M)] == ["a", "c"]
    state.undrain(new)
    assert [i.name for i in state.ready(M)] == ["a", "b", "c"]
    assert up(state, "d").number == 3


def test_a_spec_of_which_a_process_sees_nothing_is_taken_at_once():
    state = fleet("a")
    a = state.instances["a"]
    state.alter(a, replace(a.spec, weight=7.0))
    assert state.instances["a"] is a
    assert a.spec.weight == 7.0


def test_models_are_bound_to_other_instances_from_now_on():
    state = fleet("a", "b", routes={M: frozenset("a")})
    a, b = state.instances.values()
    for instance in (a, b):
        state.set_resident(instance, [resident("m")])
    assert list(state.ready(M)) == list(state.free(M, ())) == [a]
    state.reroute({M: frozenset("b")})
    assert list(state.ready(M)) == list(state.free(M, ())) == [b]
    assert state.may_serve(b, M)
    assert not state.may_serve(a, M)
    state.reroute({})
    assert list(state.ready(M)) == list(state.free(M, ())) == [a, b]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["come", "go", "load"]))))
def test_who_may_be_asked_is_who_is_there_whoever_came_and_went(steps):
    state = State(Placement(()))
    for name, step in steps:
        there = state.instances.get(name)
        if step == "come" and there is None:
            up(state, name)
        elif step == "go" and there is not None:
            state.leave(there)
        elif step == "load" and there is not None:
            state.set_resident(there, [resident("m")])
    members = list(state.instances.values())
    assert list(state.holders(M)) == list(state.ready(M)) == members
    assert list(state.free(M, ())) == [i for i in members if i.resident]
    assert members == sorted(members, key=lambda member: member.number)


def test_there_is_always_somebody_at_a_place_that_is_taken_over():
    """Who waits for the only instance is not turned away while another takes its place."""
    state = fleet("b")
    seen = []
    state.on_change.append(lambda: seen.append((len(state.instances), len(state.holders(M)))))
    state.succeed(state.instances["b"], spec("b"))
    assert seen
    assert set(seen) == {(1, 1)}


def test_one_knows_what_its_store_holds_where_somebody_on_it_did():
    """Else a request for a model would go to another store meanwhile, where it is not."""
    state = fleet("a")
    assert M in state.join(spec("b")).stored
    elsewhere = replace(spec("c"), store="/elsewhere")
    assert M not in state.join(elsewhere).stored
    assert M not in state.succeed(state.instances["b"], replace(spec("b"), store="/new")).stored
