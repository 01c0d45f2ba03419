"""The desk without asyncio: who is granted what, on a clock that the test moves."""

import random
from collections import Counter
from dataclasses import replace

import pytest
from fleet_fixtures import asks, fleet, hold, resident, spec, stored, strategy
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.estimate import Estimates, Observation
from ollama_fleet.gpu import Gpu, Vendor
from ollama_fleet.names import canonical
from ollama_fleet.placement import Placement
from ollama_fleet.router.costs import Costs
from ollama_fleet.router.desk import Desk
from ollama_fleet.router.plan import HORIZON
from ollama_fleet.router.policy import Binding
from ollama_fleet.router.queue import Waiter
from ollama_fleet.router.strategies import Expectations
from ollama_fleet.state import Phase, Residency, State, Want

LATE = ["adaptive", "late_least_conn"]


class Office:
    """A desk with its callbacks: what was granted, whom it refused, what it does later."""

    def __init__(self, state, name="adaptive", *, limit=99, speeds=None, **more):
        self.state = state
        self.now_s = 0.0
        self.leases = {}
        self.refused = {}
        self.soon = []
        self.number = self.granted = 0
        self.desk = Desk(
            state,
            strategy(name, speeds=speeds),
            limit=limit,
            rng=random.Random(1),
            grant=self.grant,
            refuse=lambda waiter, refusal: self.refused.setdefault(waiter.number, refusal.name),
            later=self.soon.append,
            **more,
        )
        state.on_change.append(lambda: self.desk.changed(self.now_s))
        state.on_release.append(lambda lease: self.desk.freed(lease, self.now_s))

    def grant(self, waiter, instance, _scores):
        request = waiter.request
        lease = self.state.lease(instance, request.key, request.profile, slot=bool(request.slot))
        self.leases[waiter.number] = lease
        self.granted += 1
        return lease

    def arrive(self, request=None, excluded=frozenset()):
        self.number += 1
        waiter = Waiter(self.number, request or asks(), excluded)
        self.desk.arrive(waiter, self.now_s)
        return waiter

    def end(self, number):
        self.leases.pop(number).release()

    def where(self):
        return {number: lease.instance.name for number, lease in self.leases.items()}


def warm(*names, slots=1):
    state = fleet(*names, slots=slots)
    for instance in state.instances.values():
        state.set_resident(instance, [resident("m")])
    return state


@pytest.mark.parametrize("name", LATE)
def test_who_waits_is_bound_to_nobody_and_takes_whichever_slot_comes_free(name):
    office = Office(warm("a", "b"), name)
    for _ in range(4):
        office.arrive()
    assert sorted(office.where()) == [1, 2]
    assert all(i.bound == 0 for i in office.state.instances.values())
    second = office.where()[2]
    office.end(2)
    assert office.where()[3] == second
    assert len(office.desk) == office.state.waiting == 1


@pytest.mark.parametrize("name", LATE)
def test_who_leaves_the_queue_is_never_granted_anything(name):
    office = Office(warm("a"), name)
    office.arrive()
    waiter = office.arrive()
    office.arrive()
    office.desk.leave(waiter, 0.0)
    office.end(1)
    assert sorted(office.leases) == [3]
    office.desk.leave(waiter, 0.0)
    assert office.state.waiting == 0


def test_who_waits_starts_on_an_instance_that_comes_up():
    office = Office(warm("a", "b"))
    office.state.set_phase(office.state.instances["b"], Phase.BACKOFF, 0.0)
    office.arrive()
    office.arrive()
    assert office.where() == {1: "a"}
    office.state.set_phase(office.state.instances["b"], Phase.READY, 0.0)
    assert office.where() == {1: "a", 2: "b"}


def test_a_request_that_nobody_can_ever_serve_is_refused_though_others_wait():
    office = Office(warm("a"))
    for _ in range(2):
        office.arrive()
    office.arrive(asks(only="x"))
    assert office.refused == {3: "NOBODY"}


def test_in_a_full_queue_the_newcomer_is_refused_and_nobody_else():
    office = Office(warm("a"), limit=1)
    for _ in range(3):
        office.arrive()
    assert office.refused == {3: "FULL"}
    office.end(1)
    assert sorted(office.leases) == [2]


def test_who_can_start_at_once_is_let_in_though_the_queue_is_full():
    state = fleet("a", "b", slots=1, models=("m",))
    office = Office(state, limit=1)
    office.arrive(asks(only="a"))
    office.arrive(asks(only="a"))
    office.arrive(asks(only="b"))
    assert office.where() == {1: "a", 3: "b"}


def test_a_desk_that_is_closed_refuses_who_waits_and_who_comes():
    office = Office(warm("a"))
    for _ in range(2):
        office.arrive()
    office.desk.close()
    office.arrive()
    assert office.refused == {2: "STOPPING", 3: "STOPPING"}


def test_what_a_lease_is_for_and_when_it_began_is_noted():
    office = Office(warm("a", slots=2))
    office.now_s = 5.0
    office.arrive(asks(prompt_bytes=77, output_cap=9, stream=True))
    lease = office.leases[1]
    assert (lease.began_s, lease.work.prompt_bytes, lease.work.output_cap) == (5.0, 77, 9)
    assert lease.work.stream
    labour = office.state.instances["a"].labour
    office.state.sent(lease, 5.0)
    assert labour.slots == 1
    office.now_s = 9.0
    office.end(1)
    assert (labour.slots, labour.slot_s(20.0)) == (0, 4.0)


@pytest.mark.parametrize("name", LATE)
@given(script=st.lists(st.sampled_from(["arrive", "arrive", "end", "die", "rise"]), max_size=40))
def test_whatever_happens_slots_are_never_exceeded_and_nobody_is_lost(name, script):
    office = Office(warm("a", "b", slots=2), name)
    b = office.state.instances["b"]
    for number, step in enumerate(script):
        office.now_s = float(number)
        if step == "arrive":
            office.arrive()
        elif step == "end" and office.leases:
            office.end(min(office.leases))
        elif step == "die":
            office.state.set_phase(b, Phase.BACKOFF, office.now_s)
        elif step == "rise":
            office.state.set_phase(b, Phase.READY, office.now_s)
        counts = Counter(office.where().values())
        assert all(counts[i.name] == i.in_flight <= 2 for i in office.state.instances.values())
    while office.leases or office.state.waiting:
        if not office.leases:
            office.state.set_phase(b, Phase.READY, office.now_s)
        office.end(min(office.leases))
    assert not office.refused
    assert all(i.labour.slots == 0 for i in office.state.instances.values())


STRATEGIES = ["adaptive", "late_least_conn", "least_conn", "round_robin"]


@given(
    script=st.lists(
        st.sampled_from(["arrive", "arrive", "arrive", "end", *STRATEGIES]), max_size=40
    )
)
def test_whatever_chooses_from_then_on_slots_are_never_exceeded_and_nobody_is_lost(script):
    """Who waits at an instance waits there on, who waits for a choice is chosen for anew."""
    office = Office(warm("a", "b", slots=2), "round_robin")
    for number, step in enumerate(script):
        office.now_s = float(number)
        if step == "arrive":
            office.arrive()
        elif step == "end":
            if office.leases:
                office.end(min(office.leases))
        else:
            office.desk.choose_by(strategy(step), office.now_s)
        while office.soon:
            office.soon.pop()(office.now_s)
        counts = Counter(office.where().values())
        assert all(counts[i.name] == i.in_flight <= 2 for i in office.state.instances.values())
        idle = [i for i in office.state.instances.values() if i.in_flight < 2]
        assert not (
            idle and office.desk.strategy.binds is Binding.LATE and office.desk._room.unbound
        )
    while office.leases or office.state.waiting:
        office.end(min(office.leases))
        while office.soon:
            office.soon.pop()(office.now_s)
    assert not office.refused
    assert office.number == office.granted


def test_another_strategy_chooses_at_once():
    office = Office(warm("a", "b", slots=9), "round_robin")
    for _ in range(4):
        office.arrive()
    assert Counter(office.where().values()) == {"a": 2, "b": 2}
    for number in (1, 3):
        office.end(number)
    office.desk.choose_by(strategy("least_conn"), office.now_s)
    before = Counter(office.where().values())
    office.arrive()
    office.arrive()
    added = Counter(office.where().values()) - before
    assert set(added) == {name for name in "ab" if before[name] == 0}


@given(st.lists(st.integers(0, 2), max_size=30))
def test_a_slot_is_never_idle_while_somebody_waits_on_equal_instances(ends):
    office = Office(warm("a", "b", "c", slots=2))
    for _ in range(12):
        office.arrive()
    for pick in ends:
        if not office.leases:
            break
        office.end(sorted(office.leases)[pick % len(office.leases)])
        free = 6 - len(office.leases)
        assert not (free and office.state.waiting)


@pytest.mark.parametrize("name", LATE)
def test_requests_of_the_options_that_run_do_not_keep_another_waiting_for_ever(name):
    """A slot is free, but the model has to be loaded anew for it: nobody overtakes it there."""
    office = Office(warm("a", slots=2), name)
    office.arrive()
    office.arrive(asks(num_ctx=8))
    for _ in range(3):
        office.arrive()
    assert sorted(office.leases) == [1]
    office.end(1)
    assert sorted(office.leases) == [2]


def test_who_never_waited_says_nothing_of_how_long_one_waits():
    """Requests that find a free slot pass by one that waits for another; no wait is foretold."""
    office = Office(warm("a", "b"))
    only_a, only_b = (asks(only=frozenset({name})) for name in "ab")
    office.arrive(only_a)
    office.arrive(only_a)
    for _ in range(6):
        office.now_s += 1.0
        office.end(office.arrive(only_b).number)
    assert office.state.waiting == 1
    assert office.desk.forecast.retry_after_s(office.now_s) == 0.0


@pytest.mark.parametrize(
    ("gpus", "beside", "gpu_s"), [(1, 0, 10), (2, 0, 20), (1, 1, 5), (2, 3, 5)]
)
def test_a_tenant_is_charged_the_gpus_seconds_less_what_others_had_of_them(gpus, beside, gpu_s):
    cards = tuple(Gpu(f"G{n}", n, "G", Vendor.NVIDIA, 1) for n in range(gpus))
    state = State(Placement((replace(spec("a", slots=4), gpus=cards),)))
    state.set_phase(state.instances["a"], Phase.READY, 0.0)
    hold(state, state.instances["a"], "m")
    state.set_resident(state.instances["a"], [resident("m")])
    office = Office(state)
    for _ in range(1 + beside):
        number = office.arrive(asks(tenant=f"t{office.number + 1}")).number
        office.state.sent(office.leases[number], 0.0)
    office.now_s = 10.0
    office.end(1)
    assert office.desk._room.shares.usual_gpu_s((asks().priority, "t1")) == pytest.approx(gpu_s)


def test_a_tenant_is_charged_nothing_for_a_load_that_it_waits_for():
    state = fleet("a", slots=2)
    state.on_want.append(lambda _want: None)
    office = Office(state)
    office.arrive(asks(tenant="t"))
    want = Want(state.instances["a"], Residency("d-m"), "m", "/api/generate", ())
    state.want(want)
    office.now_s = 30.0
    state.loaded(want)
    state.sent(office.leases[1], office.now_s)
    office.now_s = 34.0
    office.end(1)
    assert office.desk._room.shares.usual_gpu_s((asks().priority, "t")) == pytest.approx(4.0)


@pytest.mark.parametrize("name", [*LATE, "least_conn"])
def test_slots_that_are_found_out_are_filled_when_the_next_one_comes_free(name):
    office = Office(warm("a"), name)
    for _ in range(5):
        office.arrive()
    assert sorted(office.leases) == [1]
    office.state.limit(office.state.instances["a"], "d-m", 3)
    office.end(1)
    assert sorted(office.leases) == [2, 3, 4]
    office.state.limit(office.state.instances["a"], "d-m", 1)
    for number in (2, 3):
        office.end(number)
        assert 5 not in office.leases
    office.end(4)
    assert sorted(office.leases) == [5]


ARRIVAL = ["round_robin", "least_conn"]


@pytest.mark.parametrize("name", ARRIVAL)
@pytest.mark.parametrize("before", [(), ("m",)])
def test_nobody_is_left_in_a_line_for_weights_that_its_model_no_longer_is(name, before):
    """A model that is pulled anew, or only now known to be there, is asked for as other weights."""
    state = fleet("a", slots=1, models=before)
    office = Office(state, name)
    for _ in range(4):
        office.arrive()
    state.set_stored(state.instances["a"], [replace(stored("m"), blob="new")])
    for number in range(1, 5):
        office.end(number)
    assert (len(office.desk), state.instances["a"].bound) == (0, 0)


def test_requests_for_many_models_hide_nobody_who_could_start():
    names = [f"m{n}" for n in range(HORIZON + 6)]
    state = fleet("a", "b", slots=1, models=())
    hold(state, state.instances["a"], *names)
    hold(state, state.instances["b"], "x")
    office = Office(state, limit=999)
    for name in (*names, *names):  # the first of each model starts, the second waits
        office.arrive(asks(name))
    waiter = office.arrive(asks("x"))
    assert len(office.desk) == len(names)
    assert office.where()[waiter.number] == "b"


@pytest.mark.parametrize("models", [("m",), ("m", "n")])
@pytest.mark.parametrize("name", LATE)
def test_as_many_start_on_an_instance_that_comes_up_as_it_has_slots_for(name, models):
    state = fleet("a", slots=2 * HORIZON, models=models)
    instance = state.instances["a"]
    state.set_phase(instance, Phase.BACKOFF, 0.0)
    office = Office(state, name, limit=999)
    for number in range(2 * HORIZON + 9):
        office.arrive(asks("n" if "n" in models and not number else "m"))
    state.set_phase(instance, Phase.READY, 0.0)
    while office.soon:
        office.soon.pop(0)(0.0)
    assert instance.runners["d-m"].in_flight == 2 * HORIZON


def test_a_time_in_which_nobody_waited_says_nothing_about_the_next_wait():
    office = Office(warm("a"))
    waiters = [office.arrive() for _ in range(8)]
    for number in range(1, 7):
        office.now_s += 1.0
        office.end(number)
    office.desk.leave(waiters[-1], office.now_s)
    office.end(7)
    office.now_s += 3600.0
    office.arrive()
    office.arrive(asks(deadline_s=60.0))
    assert office.refused == {}


def test_who_waits_for_an_answer_that_does_not_end_is_chosen_for_anew_as_time_passes():
    """Though nothing happens. The looks become rarer, and end with the wait."""
    estimates, looks = Estimates(), []
    for name, token_s in [("a", 0.02), ("b", 1.0)] * 40:
        estimates.learn(
            Observation(
                instance=name,
                weights="d-m",
                key=canonical("m"),
                prefill_s=0.1,
                output_tokens=50,
                decode_s=49 * token_s,
            )
        )
    office = Office(
        warm("a", "b"),
        speeds=estimates,
        cost=Costs(estimates, Expectations(estimates)).gpu_s,
        after=lambda *look: looks.append(look),
    )
    began_s = office.now_s = 3600.0
    written = [0]
    office.arrive(asks(stream=True))
    office.state.sent(office.leases[1], began_s)
    office.state.progress(office.leases[1], lambda: written[0], began_s + 0.1)
    written[0] = 45
    office.arrive()
    assert office.where() == {1: "a"}
    waits_s = []
    while looks:
        seconds, look = looks.pop()
        waits_s.append(seconds)
        office.now_s += seconds
        written[0] = round((office.now_s - began_s) / 0.02)
        look(office.now_s)
    assert office.where() == {1: "a", 2: "b"}
    assert waits_s == sorted(waits_s)
    assert len(waits_s) < 20
    assert office.now_s < began_s + 200.0
