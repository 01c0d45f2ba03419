import random

from fleet_fixtures import asks, fleet, hold, strategy
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.names import canonical
from ollama_fleet.router.plan import Refuse, plan, starters
from ollama_fleet.router.policy import Strategy
from ollama_fleet.router.queue import Waiter, WaitingRoom
from ollama_fleet.state import Health, Phase

LEAST = strategy("least_conn")
TURNS = strategy("round_robin")
LATE = strategy("late_least_conn")
ADAPTIVE = strategy("adaptive")
FIRST = Strategy("first", lambda *_: (0.0,), (), model_aware=True, weighs_loads=True)


def planned(state, chooses, *requests, excluded=frozenset()):
    waiters = [Waiter(n, request, excluded) for n, request in enumerate(requests, start=1)]
    return plan(waiters, state, chooses, random.Random(1), 0.0)


def chosen(actions):
    return [a.instance.name for a in actions]


def line_up(state, name, *requests):
    """A room in which these wait for that instance, and the one line they are in."""
    room, instance = WaitingRoom(), state.instances[name]
    for number, request in enumerate(requests, start=1):
        residency = instance.residency(request.key, request.profile)
        state.bind(instance, residency)
        room.bind(Waiter(number, request), instance, residency)
    return room


def starting(state, room, name):
    instance = state.instances[name]
    return [
        waiter.number
        for (_, weights), line in room.lines.items()
        for waiter in starters(line.values(), instance, weights)
    ]


def test_round_robin_takes_turns_even_within_one_plan():
    state = fleet("a", "b", "c", slots=9)
    actions = planned(state, TURNS, *(asks() for _ in range(6)))
    assert chosen(actions) == ["a", "b", "c", "a", "b", "c"]


def test_least_conn_prefers_the_instance_with_the_fewest_requests_running_or_waiting():
    state = fleet("a", "b")
    state.lease(state.instances["a"], canonical("m"))
    assert chosen(planned(state, LEAST, asks())) == ["b"]
    for _ in range(2):
        state.bind(state.instances["b"])
    assert chosen(planned(state, LEAST, asks())) == ["a"]


def test_equal_scores_go_to_the_instance_picked_longest_ago():
    state = fleet("a", "b")
    state.pick(state.instances["a"])
    assert chosen(planned(state, LEAST, asks())) == ["b"]


def test_an_instance_that_lacks_the_model_is_not_eligible():
    state = fleet("a", "b", models=())
    hold(state, state.instances["b"], "m")
    assert chosen(planned(state, TURNS, asks())) == ["b"]


def test_a_model_nobody_has_goes_to_anyone_for_the_answer_is_theirs():
    state = fleet("a", models=("other",))
    assert chosen(planned(state, LEAST, asks("m"))) == ["a"]


def test_a_model_bound_to_a_group_is_served_only_there():
    routes = {canonical(model): frozenset({"b"}) for model in ("m", "unknown")}
    state = fleet("a", "b", routes=routes)
    actions = planned(state, TURNS, asks(), asks(), asks("unknown"))
    assert chosen(actions) == ["b", "b", "b"]


def test_a_request_for_some_instances_only_goes_to_no_other():
    state = fleet("a", "b", "c")
    assert chosen(planned(state, TURNS, asks(only="b"), asks(only="b"))) == ["b", "b"]
    (refusal,) = planned(state, TURNS, asks(only="x"))
    assert isinstance(refusal, Refuse)


def test_who_finds_no_free_slot_is_bound_and_does_not_start():
    first, second = planned(fleet("a", slots=1), LEAST, asks(), asks())
    assert (first.starts, second.starts) == (True, False)


def test_a_full_instance_does_not_stop_a_later_request_for_another_model_of_it():
    state = fleet("a", slots=1, models=("m", "n"))
    actions = planned(state, LEAST, asks("m"), asks("m"), asks("n"))
    assert [a.starts for a in actions] == [True, False, True]


def test_a_free_slot_goes_to_the_first_of_that_instances_own_line():
    state = fleet("a", slots=1)
    room = line_up(state, "a", asks(), asks())
    assert starting(state, room, "a") == [1]


def test_nobody_there_for_now_means_waiting_and_nobody_ever_means_refusal():
    state = fleet("a")
    state.set_health(state.instances["a"], Health.UNHEALTHY)
    assert planned(state, LEAST, asks()) == ()
    (refusal,) = planned(state, LEAST, asks(), excluded=frozenset({"a"}))
    assert isinstance(refusal, Refuse)


def test_who_waits_for_an_instance_that_left_is_stranded_and_nobody_else():
    state = fleet("a", "b")
    room = line_up(state, "a", asks(), asks(num_ctx=8))
    other = line_up(state, "b", asks())
    state.set_phase(state.instances["a"], Phase.BACKOFF, 0.0)
    assert [w.number for w in room.stranded(state)] == [1, 2]
    assert other.stranded(state) == []


def test_who_waits_for_an_instance_that_turns_out_to_lack_the_model_is_stranded():
    state = fleet("a", "b", models=("m", "n"))
    room = line_up(state, "a", asks("m"), asks("n"))
    hold(state, state.instances["a"], "n")
    assert [w.number for w in room.stranded(state)] == [1]


def test_who_waits_for_a_model_that_nobody_has_is_not_stranded():
    """The instance's own 404 is the answer."""
    state = fleet("a", "b")
    room = line_up(state, "a", asks("x"))
    hold(state, state.instances["b"], "n")
    assert room.stranded(state) == []


def test_a_call_that_needs_no_slot_never_waits_for_one():
    state = fleet("a", slots=1)
    state.lease(state.instances["a"], canonical("m"))
    (choice,) = planned(state, LEAST, asks(slot=False))
    assert choice.starts


@given(
    busy=st.lists(st.integers(0, 3), min_size=1, max_size=5),
    arrivals=st.integers(1, 30),
    chooses=st.sampled_from([LEAST, TURNS, LATE, ADAPTIVE]),
)
def test_no_plan_gives_an_instance_more_than_its_slots(busy, arrivals, chooses):
    names = [f"i{n}" for n in range(len(busy))]
    state = fleet(*names, slots=3)
    for name, count in zip(names, busy, strict=True):
        for _ in range(count):
            state.lease(state.instances[name], canonical("m"))
    actions = planned(state, chooses, *(asks() for _ in range(arrivals)))
    started = [a.instance.name for a in actions if a.starts]
    for name, count in zip(names, busy, strict=True):
        assert started.count(name) + count <= 3


@given(st.permutations(["a", "b", "c", "d"]), st.lists(st.integers(0, 4), min_size=4, max_size=4))
def test_permuting_the_instances_changes_only_ties(order, loads):
    by_name = dict(zip("abcd", loads, strict=True))
    state = fleet(*order, slots=9)
    for name, load in by_name.items():
        for _ in range(load):
            state.lease(state.instances[name], canonical("m"))
    (name,) = chosen(planned(state, LEAST, asks()))
    assert by_name[name] == min(loads)


@given(st.integers(0, 5), st.integers(1, 5))
def test_more_load_never_attracts(load, more):
    state = fleet("a", "b", slots=99)
    for _ in range(load):
        state.lease(state.instances["b"], canonical("m"))
    before = chosen(planned(state, LEAST, asks()))
    for _ in range(more):
        state.lease(state.instances["a"], canonical("m"))
    after = chosen(planned(state, LEAST, asks()))
    assert not (before == ["b"] and after == ["a"])


@given(st.lists(st.tuples(st.sampled_from("mn"), st.sampled_from([0, 8])), max_size=9))
def test_a_plan_for_many_is_as_many_plans_for_one_each_carried_out_before_the_next(kinds):
    requests = [asks(model, num_ctx=num_ctx) for model, num_ctx in kinds]
    together, one_by_one = (fleet("a", "b", "c", models=("m", "n")) for _ in range(2))
    expected = [(a.instance.name, a.starts) for a in planned(together, LEAST, *requests)]
    found = []
    for request in requests:
        (choice,) = planned(one_by_one, LEAST, request)
        if choice.starts:
            one_by_one.lease(choice.instance, request.key, request.profile)
        else:
            one_by_one.bind(choice.instance, choice.residency)
        for instance in one_by_one.instances.values():
            instance.picked = 0  # a plan picks nobody
        found.append((choice.instance.name, choice.starts))
    assert found == expected


def test_who_cannot_start_takes_nothing_from_those_behind():
    state = fleet("a", "b", slots=2)
    hold(state, state.instances["b"], "n")
    for _ in range(2):
        state.lease(state.instances["b"], canonical("n"))
    actions = planned(state, LATE, asks("m"), asks("n"), asks("m"), asks("m"))
    assert [(a.waiter.number, a.instance.name) for a in actions] == [(1, "a"), (3, "a")]


# -- two profiles of the same weights ------------------------------------------------------------


def test_two_who_start_in_one_plan_under_different_profiles_start_on_different_instances():
    """Though the strategy prefers the same one."""
    state = fleet("a", "b")
    actions = planned(state, FIRST, asks(num_ctx=8), asks(num_ctx=16), asks(num_ctx=8))
    assert [(a.instance.name, a.starts) for a in actions] == [("a", True), ("b", True), ("a", True)]


def test_a_profile_waits_until_the_other_is_done_though_a_slot_is_free():
    state = fleet("a", slots=4)
    lease = state.lease(state.instances["a"], canonical("m"))
    first, second = planned(state, LEAST, asks(num_ctx=8), asks(num_ctx=8))
    assert not first.starts
    assert not second.starts
    room = line_up(state, "a", asks(num_ctx=8), asks(num_ctx=8))
    assert starting(state, room, "a") == []
    lease.release()
    assert starting(state, room, "a") == [1, 2]


def test_nobody_overtakes_a_waiting_profile_on_its_instance():
    """Neither a newcomer, nor one further back in the line; else it might wait for ever."""
    state = fleet("a", slots=4, models=("m", "n"))
    lease = state.lease(state.instances["a"], canonical("m"))
    room = line_up(state, "a", asks(num_ctx=8), asks())
    assert starting(state, room, "a") == []
    newcomer, other_weights = planned(state, LEAST, asks(), asks("n"))
    assert not newcomer.starts
    assert other_weights.starts
    lease.release()
    assert starting(state, room, "a") == [1]


def test_who_was_elsewhere_already_is_let_in_first():
    state = fleet("a", "b", slots=4)
    state.lease(state.instances["a"], canonical("m"))
    line_up(state, "a", asks(num_ctx=8))
    (choice,) = planned(state, LEAST, asks(), excluded=frozenset({"b"}))
    assert (choice.instance.name, choice.starts) == ("a", True)
