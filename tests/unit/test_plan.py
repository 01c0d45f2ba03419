from fleet_fixtures import asks, fleet, hold
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.names import canonical
from ollama_fleet.router.plan import Choose, Refuse, Start, Unbind, plan
from ollama_fleet.router.policy import STRATEGIES
from ollama_fleet.router.queue import Waiter, WaitingRoom
from ollama_fleet.state import Health, Phase

LEAST = STRATEGIES["least_conn"]
TURNS = STRATEGIES["round_robin"]


def room(*waiters):
    waiting = WaitingRoom()
    for waiter in waiters:
        waiting.enter(waiter)
    return waiting


def chosen(actions):
    return [a.instance.name for a in actions if isinstance(a, Choose)]


def test_round_robin_takes_turns_even_within_one_plan():
    state = fleet("a", "b", "c", slots=9)
    waiting = room(*(Waiter(n, asks()) for n in range(6)))
    assert chosen(plan(waiting, state, TURNS)) == ["a", "b", "c", "a", "b", "c"]


def test_least_conn_prefers_the_instance_with_the_fewest_requests_running_or_waiting():
    state = fleet("a", "b")
    state.lease(state.instances["a"], canonical("m"))
    assert chosen(plan(room(Waiter(1, asks())), state, LEAST)) == ["b"]
    state.instances["b"].bound = 2
    assert chosen(plan(room(Waiter(1, asks())), state, LEAST)) == ["a"]


def test_equal_scores_go_to_the_instance_picked_longest_ago():
    state = fleet("a", "b")
    state.bind(state.instances["a"])
    state.unbind(state.instances["a"])
    assert chosen(plan(room(Waiter(1, asks())), state, LEAST)) == ["b"]


def test_an_instance_that_lacks_the_model_is_not_eligible():
    state = fleet("a", "b", models=())
    hold(state, state.instances["b"], "m")
    assert chosen(plan(room(Waiter(1, asks())), state, TURNS)) == ["b"]


def test_a_model_nobody_has_goes_to_anyone_for_the_answer_is_theirs():
    state = fleet("a", models=("other",))
    assert chosen(plan(room(Waiter(1, asks("m"))), state, LEAST)) == ["a"]


def test_a_model_bound_to_a_group_is_served_only_there():
    state = fleet("a", "b", routes={canonical("m"): frozenset({"b"})})
    waiting = room(Waiter(1, asks()), Waiter(2, asks()))
    assert chosen(plan(waiting, state, TURNS)) == ["b", "b"]


def test_who_finds_no_free_slot_is_bound_and_does_not_start():
    state = fleet("a", slots=1)
    first, second = plan(room(Waiter(1, asks()), Waiter(2, asks())), state, LEAST)
    assert (first.starts, second.starts) == (True, False)


def test_a_full_instance_does_not_stop_a_later_request_for_another_model_of_it():
    state = fleet("a", slots=1, models=("m", "n"))
    waiting = room(Waiter(1, asks("m")), Waiter(2, asks("m")), Waiter(3, asks("n")))
    assert [a.starts for a in plan(waiting, state, LEAST)] == [True, False, True]


def test_a_free_slot_goes_to_the_first_of_that_instances_own_line():
    state = fleet("a", slots=1)
    waiting = room()
    for number in (1, 2):
        waiter = Waiter(number, asks())
        waiting.enter(waiter)
        waiting.bind(waiter, state.instances["a"])
    (start,) = plan(waiting, state, LEAST)
    assert isinstance(start, Start)
    assert start.waiter.number == 1


def test_who_was_bound_to_an_instance_that_left_is_chosen_for_again_in_order_of_arrival():
    state = fleet("a", "b")
    waiting = room()
    for number in (1, 2):
        waiter = Waiter(number, asks())
        waiting.enter(waiter)
        waiting.bind(waiter, state.instances["a"])
    state.set_phase(state.instances["a"], Phase.BACKOFF, 0.0)
    actions = plan(waiting, state, LEAST)
    assert [(a.waiter.number, a.instance.name) for a in actions] == [(1, "b"), (2, "b")]


def test_nobody_there_for_now_means_waiting_and_nobody_ever_means_refusal():
    state = fleet("a")
    state.set_health(state.instances["a"], Health.UNHEALTHY)
    assert plan(room(Waiter(1, asks())), state, LEAST) == ()
    (refusal,) = plan(room(Waiter(1, asks(), excluded=frozenset({"a"}))), state, LEAST)
    assert isinstance(refusal, Refuse)
    bound = Waiter(1, asks())
    waiting = room(bound)
    waiting.bind(bound, state.instances["a"])
    assert [type(a) for a in plan(waiting, state, LEAST)] == [Unbind]


def test_a_call_that_needs_no_slot_never_waits_for_one():
    state = fleet("a", slots=1)
    state.lease(state.instances["a"], canonical("m"))
    (choice,) = plan(room(Waiter(1, asks(slot=False))), state, LEAST)
    assert choice.starts


@given(
    busy=st.lists(st.integers(0, 3), min_size=1, max_size=5),
    arrivals=st.integers(1, 30),
    strategy=st.sampled_from([LEAST, TURNS]),
)
def test_no_plan_gives_an_instance_more_than_its_slots(busy, arrivals, strategy):
    names = [f"i{n}" for n in range(len(busy))]
    state = fleet(*names, slots=3)
    for name, count in zip(names, busy, strict=True):
        for _ in range(count):
            state.lease(state.instances[name], canonical("m"))
    waiting = room(*(Waiter(n, asks()) for n in range(arrivals)))
    started = [a.instance.name for a in plan(waiting, state, strategy) if a.starts]
    for name, count in zip(names, busy, strict=True):
        assert started.count(name) + count <= 3


@given(st.permutations(["a", "b", "c", "d"]), st.lists(st.integers(0, 4), min_size=4, max_size=4))
def test_permuting_the_instances_changes_only_ties(order, loads):
    by_name = dict(zip("abcd", loads, strict=True))
    state = fleet(*order, slots=9)
    for name, load in by_name.items():
        for _ in range(load):
            state.lease(state.instances[name], canonical("m"))
    (name,) = chosen(plan(room(Waiter(1, asks())), state, LEAST))
    assert by_name[name] == min(loads)


@given(st.integers(0, 5), st.integers(1, 5))
def test_more_load_never_attracts(load, more):
    state = fleet("a", "b", slots=99)
    for _ in range(load):
        state.lease(state.instances["b"], canonical("m"))
    before = chosen(plan(room(Waiter(1, asks())), state, LEAST))
    for _ in range(more):
        state.lease(state.instances["a"], canonical("m"))
    after = chosen(plan(room(Waiter(1, asks())), state, LEAST))
    assert not (before == ["b"] and after == ["a"])
