"""Instances that fail what they are given: who is left out, for how long, and never the last."""

import random
from types import SimpleNamespace

import pytest
from fleet_fixtures import asks, fleet, strategy
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.config import HealthConfig
from ollama_fleet.control.passive import PassiveHealth
from ollama_fleet.errors import (
    ClientGone,
    ConnectFailed,
    FirstByteTimeout,
    ModelMissing,
    OutOfSockets,
    Overloaded,
    StreamBroken,
    UpstreamFailed,
)
from ollama_fleet.names import canonical
from ollama_fleet.placement import Placement
from ollama_fleet.router.plan import plan
from ollama_fleet.router.policy import eligible, ready
from ollama_fleet.router.queue import Waiter
from ollama_fleet.state import Completed, Health, Kind, Phase, State

M = canonical("m")
REFUSED = ConnectFailed("refused", sent=False)


class Ward:
    """A fleet under passive health, on a clock that stands until it is put forward."""

    def __init__(self, *names, state=None, **more):
        self.state = state or fleet(*(names or ("a", "b", "c")), **more)
        self.now_s, self.due, self.told = 0.0, [], []
        self.state.on_notice.append(self.told.append)
        self.health = PassiveHealth(
            self.state,
            HealthConfig(),
            clock=lambda: self.now_s,
            later=lambda seconds, call: self.due.append((self.now_s + seconds, call)),
        )
        self.health.__enter__()

    def ends(self, name, outcome, *, after=(), key=M):
        with self.state.lease(self.state.instances[name], key) as lease:
            lease.after = after
            if isinstance(outcome, Completed):
                self.state.progress(lease, lambda: 1, self.now_s, status=outcome.status)
            self.state.outcome(lease, outcome)
            return lease

    def answers(self, name, *, after=()):
        return self.ends(name, Completed(200), after=after)

    def until(self, now_s):
        for due_s, call in sorted(self.due, key=lambda each: each[0]):
            if due_s <= now_s:
                self.now_s = due_s
                self.due.remove((due_s, call))
                call()
        self.now_s = now_s

    def given(self, request=None, excluded=frozenset()):
        return [i.name for i in ready(request or asks(), self.state, excluded)]

    @property
    def kinds(self):
        return [(notice.instance, notice.kind) for notice in self.told]


def test_who_loses_three_connections_gets_nothing_for_five_seconds():
    ward = Ward()
    for _ in range(3):
        assert ward.given() == ["a", "b", "c"]
        ward.ends("a", StreamBroken("cut"))
    assert ward.given() == ["b", "c"]
    ward.until(4.9)
    assert ward.given() == ["b", "c"]
    ward.until(5.0)
    assert ward.given() == ["a", "b", "c"]
    assert ward.kinds == [("a", Kind.INSTANCE_EJECTED), ("a", Kind.INSTANCE_READMITTED)]
    ward.ends("a", REFUSED)
    assert ward.told[-1].figures["pause_s"] == 10.0


@pytest.mark.parametrize(
    "outcome",
    [
        ClientGone("gone"),
        ModelMissing("no such model"),
        UpstreamFailed("500"),
        OutOfSockets("too many open files"),
    ],
)
def test_nobody_is_blamed_for_a_client_a_missing_model_or_an_error_that_nobody_did_better(outcome):
    ward = Ward()
    for _ in range(20):
        ward.ends("a", outcome)
    assert not ward.state.rotation.ejected


@pytest.mark.parametrize(
    "failure", [UpstreamFailed("500"), Overloaded("503"), FirstByteTimeout("late")]
)
def test_an_error_counts_once_another_has_answered_the_same_request(failure):
    ward = Ward()
    for _ in range(5):
        assert ward.given() == ["a", "b", "c"]
        failed = ward.ends("a", failure)
        ward.answers("b", after=(failed,))
    assert ward.given() == ["b", "c"]


def test_a_request_that_fails_everywhere_takes_nobody_out():
    """Else one client could empty a fleet by asking for nonsense."""
    ward = Ward()
    for _ in range(20):
        failed = ward.ends("a", UpstreamFailed("500"))
        ward.ends("b", UpstreamFailed("500"), after=(failed,))
    assert ward.given() == ["a", "b", "c"]


def test_a_refusal_of_another_is_no_proof_nor_does_an_answer_without_a_model_clear_anybody():
    ward = Ward()
    for _ in range(9):
        failed = ward.ends("a", UpstreamFailed("500"))
        ward.ends("b", Completed(404), after=(failed,))
    assert ward.given() == ["a", "b", "c"]
    for _ in range(5):
        failed = ward.ends("a", UpstreamFailed("500"))
        ward.answers("b", after=(failed,))
        ward.ends("a", Completed(200), key="")
    assert ward.given() == ["b", "c"]


def test_a_process_that_starts_anew_or_a_probe_that_is_answered_again_ends_it():
    ward = Ward()
    a = ward.state.instances["a"]
    for _ in range(3):
        ward.ends("a", StreamBroken("cut"))
    ward.state.set_phase(a, Phase.STARTING, 1.0)
    ward.state.set_phase(a, Phase.READY, 2.0)
    assert ward.given() == ["a", "b", "c"]
    for _ in range(3):
        ward.ends("a", StreamBroken("cut"))
    assert ward.told[-1].figures["pause_s"] == 5.0, "another process, another conduct"
    ward.state.set_health(a, Health.UNHEALTHY, "silent")
    assert ward.given() == ["b", "c"]
    ward.state.set_health(a, Health.HEALTHY)
    assert ward.given() == ["a", "b", "c"]
    ward.until(60.0)
    assert Kind.INSTANCE_READMITTED not in [kind for _, kind in ward.kinds], "it was in already"


def test_the_only_one_in_rotation_is_not_ejected():
    ward = Ward()
    ward.state.drain(ward.state.instances["b"], "by hand")
    ward.state.set_phase(ward.state.instances["c"], Phase.BACKOFF, 0.0)
    for _ in range(9):
        ward.ends("a", REFUSED)
    assert ward.given() == ["a"]
    assert not ward.told


def test_what_only_the_ejected_can_serve_is_given_to_them():
    """The model is theirs alone; the request has been everywhere else, or may go nowhere else."""
    ward = Ward(routes={canonical("n"): frozenset({"a"})}, models=("m", "n"))
    for _ in range(3):
        ward.ends("a", REFUSED)
    assert ward.given() == ["b", "c"]
    assert ward.given(asks("n")) == ["a"]
    assert ward.given(excluded=frozenset("bc")) == ["a"]
    assert ward.given(asks(only=("a",))) == ["a"]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["lost", "refused", "erred", "served", "up", "down", "drain", "undrain"]),
        st.integers(0, 3),
        st.floats(0, 20),
    ),
    max_size=60,
)


@given(STEPS)
def test_whatever_happens_who_could_be_asked_without_ejections_still_can(steps):
    """The law of the last one: an ejection leaves no model, and no request, with nobody."""
    names = ("a", "b", "c", "d")
    routes = {canonical("n"): frozenset({"a", "b"})}
    ward = Ward(*names, models=("m", "n"), routes=routes)
    for step, at, pause_s in steps:
        ward.until(ward.now_s + pause_s)
        happens(ward, step, names[at])
        for request in (asks("m"), asks("n"), asks("m", only=(names[at],))):
            for excluded in (frozenset(), frozenset({names[at - 1]})):
                anybody = [
                    i.name
                    for i in ward.state.ready(request.key)
                    if i.name not in excluded and (not request.only or i.name in request.only)
                ]
                given_ = ward.given(request, excluded)
                assert bool(given_) == bool(anybody)
                assert set(given_) <= set(anybody)


def happens(ward, step, name):
    instance = ward.state.instances[name]
    if step in ("up", "down"):
        phase = Phase.READY if step == "up" else Phase.BACKOFF
        ward.state.set_phase(instance, phase, ward.now_s)
    elif step == "drain":
        ward.state.drain(instance, "by hand")
    elif step == "undrain":
        ward.state.undrain(instance)
    elif step == "served":
        ward.answers(name)
    elif step == "erred":
        failed = ward.ends(name, UpstreamFailed("500"))
        ward.answers("abcd"["abcd".index(name) - 1], after=(failed,))
    else:
        ward.ends(name, REFUSED if step == "refused" else StreamBroken("cut"))


def test_in_a_large_fleet_nobody_draws_the_ejected():
    ward = Ward(*(f"i{n}" for n in range(100)))
    for _ in range(3):
        ward.ends("i7", REFUSED)
    rng = random.Random(1)
    drawn = {i.name for _ in range(99) for i in eligible(asks(), ward.state, frozenset(), rng)}
    assert len(drawn) > 50
    assert "i7" not in drawn


def test_who_waits_hears_of_an_ejection_and_of_its_end():
    ward, changes = Ward("a", "b"), []
    ward.state.on_change.append(lambda: changes.append(ward.given()))
    for _ in range(3):
        ward.ends("a", REFUSED)
    ward.until(5.0)
    assert changes == [["b"], ["a", "b"]]


def test_other_settings_hold_from_then_on():
    ward = Ward()
    ward.health.retune(HealthConfig(connection_failures=1, eject_first_s=30.0))
    ward.ends("a", REFUSED)
    assert ward.told[-1].figures["pause_s"] == 30.0
    ward.until(29.0)
    assert ward.given() == ["b", "c"]


def test_of_an_instance_that_leaves_the_fleet_nothing_is_kept():
    ward = Ward()
    a = ward.state.instances["a"]
    back(ward, "a", 0.0)
    for _ in range(3):
        ward.ends("a", REFUSED)
    ward.state.leave(a)
    ward.until(60.0)
    assert (ward.given(), ward.state.rotation.ejected) == (["b", "c"], {})
    assert a not in ward.state.rotation._since_s
    assert a not in ward.health._conducts
    assert [kind for _, kind in ward.kinds] == [Kind.INSTANCE_EJECTED]


def test_what_ends_at_an_instance_after_it_has_left_is_nobodys_failure():
    ward = Ward()
    a = ward.state.instances["a"]
    leases = [ward.state.lease(a, M) for _ in range(5)]
    ward.state.leave(a)
    for lease in leases:
        with lease:
            ward.state.outcome(lease, StreamBroken("cut"))
    assert not ward.told
    assert not ward.state.rotation.ejected
    assert a not in ward.health._conducts


# -- slow start -----------------------------------------------------------------------------------


def starts(ward, count, now_s, *, name="least_conn"):
    """Where so many requests start, chosen for in one plan."""
    waiters = [Waiter(n, asks()) for n in range(count)]
    actions = plan(waiters, ward.state, strategy(name), random.Random(1), now_s)
    return [action.instance.name for action in actions if action.starts]


def back(ward, name, now_s, *, loaded=True):
    """An instance that was away is here again, its model in memory."""
    ward.now_s = now_s
    instance = ward.state.instances[name]
    ward.state.set_phase(instance, Phase.BACKOFF, now_s)
    ward.state.set_phase(instance, Phase.READY, now_s)
    if loaded:
        warm(ward, name)


def warm(ward, *names):
    for name in names:
        instance = ward.state.instances[name]
        instance.runner(instance.residency(M).weights).loaded(())
        ward.state._rosters.memory(instance)


@pytest.mark.parametrize(("after_s", "most"), [(0.0, 1), (4.9, 3), (5.0, 4), (9.0, 7), (10.0, 8)])
def test_who_is_just_back_gets_one_at_once_then_more_up_to_its_slots(after_s, most):
    ward = Ward("a", "b", slots=8)
    warm(ward, "a")
    back(ward, "b", 100.0)
    assert sorted(starts(ward, 8 + most, 100.0 + after_s)) == ["a"] * 8 + ["b"] * most


def test_nobody_waits_for_the_slow_start_of_an_instance():
    """Once the others are full, who is just back works with all of its slots."""
    ward = Ward("a", "b", slots=4)
    warm(ward, "a")
    back(ward, "b", 100.0)
    assert sorted(starts(ward, 8, 100.0)) == ["a"] * 4 + ["b"] * 4


def test_a_fleet_of_one_and_one_that_has_just_been_started_know_no_slow_start():
    lone = Ward("a", slots=4)
    back(lone, "a", 100.0)
    assert starts(lone, 4, 100.0) == ["a"] * 4
    fresh = Ward("a", "b", slots=4)
    for name in ("a", "b"):
        back(fresh, name, 100.0)
    assert sorted(starts(fresh, 6, 100.0)) == ["a"] * 3 + ["b"] * 3


def test_no_request_is_sent_where_its_model_is_not_in_memory_to_spare_who_is_back():
    ward = Ward("a", "b", slots=4)
    back(ward, "b", 100.0)
    assert starts(ward, 4, 100.0) == ["b"] * 4


def test_an_instance_that_was_ejected_comes_back_slowly_too():
    ward = Ward("a", "b", slots=8)
    warm(ward, "a", "b")
    for _ in range(3):
        ward.ends("b", REFUSED)
    ward.until(5.0)
    assert starts(ward, 6, 5.0).count("b") == 1
    assert starts(ward, 6, 15.0).count("b") == 3


def test_without_slow_start_all_slots_are_there_at_once():
    state = fleet("a", "b", slots=8)
    settings = HealthConfig(slow_start_s=0.0)
    later = SimpleNamespace(call=lambda *_: None).call
    with PassiveHealth(state, settings, clock=lambda: 1.0, later=later):
        state.set_phase(state.instances["a"], Phase.READY, 1.0)
        assert state.rotation.settled(1.0)


def test_outside_of_it_nothing_is_counted():
    state = State(Placement(()))
    health = PassiveHealth(state, HealthConfig(), clock=lambda: 0.0, later=lambda *_: None)
    with health:
        assert state.on_outcome
    assert not any((state.on_outcome, state.on_answer, state.on_phase, state.on_left))
