"""The order of those who wait, and who may wait at all."""

from itertools import count

from fleet_fixtures import asks, fleet
from hypothesis import given, settings
from hypothesis import strategies as st

from ollama_fleet.router.fairness import Shares
from ollama_fleet.router.intake import Priority
from ollama_fleet.router.queue import TURN, Line, Waiter, WaitingRoom

costs = st.floats(0.01, 100.0)
tenants = st.sampled_from("abcd")
senders = st.tuples(tenants, st.sampled_from(Priority))
crowds = st.lists(st.tuples(senders, costs), min_size=1, max_size=40)


def waits(number, tenant="a", priority=Priority.NORMAL, *, cost=1.0, again=False):
    request = asks(tenant=tenant, priority=priority)
    excluded = frozenset({"elsewhere"}) if again else frozenset()
    return Waiter(number, request, excluded, cost_gpu_s=cost)


def room_of(crowd, **limits):
    room = WaitingRoom(**limits)
    for number, ((tenant, priority), cost) in enumerate(crowd):
        room.enter(waits(number, tenant, priority, cost=cost))
    return room


def start_first(room):
    waiter = next(iter(room.unbound))
    room.start(waiter)
    room.leave(waiter)
    return waiter


# -- the order -------------------------------------------------------------------------------------


@given(crowds, st.integers(0, 20))
def test_the_order_leaves_nobody_out_and_names_nobody_twice(crowd, starts):
    room = room_of(crowd)
    for _ in range(min(starts, len(crowd))):
        start_first(room)
    order = [waiter.number for waiter in room.unbound]
    assert len(order) == len(set(order)) == len(room) == max(0, len(crowd) - starts)


@given(st.lists(costs, min_size=1, max_size=40))
def test_one_tenant_in_one_class_is_served_first_come_first_served(its_costs):
    room = room_of([(("a", Priority.NORMAL), cost) for cost in its_costs])
    assert [start_first(room).number for _ in its_costs] == list(range(len(its_costs)))


def test_a_higher_class_goes_first_and_who_was_elsewhere_before_all():
    room = WaitingRoom()
    for number, priority in enumerate(reversed(Priority)):
        room.enter(waits(number, priority=priority))
    room.enter(waits(9, priority=Priority.LOW, again=True))
    assert [waiter.number for waiter in room.unbound] == [9, 2, 1, 0]


def test_of_two_tenants_the_one_whose_requests_are_dear_has_fewer_of_them_served():
    room = room_of([(("dear", Priority.NORMAL), 3.0), (("cheap", Priority.NORMAL), 1.0)] * 40)
    first = [start_first(room).request.tenant for _ in range(40)]
    assert first.count("cheap") == 30


@given(crowds)
def test_the_order_foretells_who_starts_until_one_goes_by_arrival(crowd):
    crowd = [(sender, 1.0) for sender, _ in crowd]
    room = room_of(crowd)
    foretold = [waiter.number for waiter in room.unbound][: TURN - 1]
    assert [start_first(room).number for _ in foretold] == foretold


@settings(max_examples=40)
@given(st.lists(st.tuples(tenants, st.sampled_from((1, 2, 9, 300))), min_size=1, max_size=8), costs)
def test_who_comes_back_waits_for_one_request_of_each_other_at_most(heavy, its_cost):
    """But for what goes by arrival: one part in TURN, and one request that may be due just then."""
    numbers = count()
    room = WaitingRoom()
    for tenant, cost in heavy:
        for _ in range(60):
            room.enter(waits(next(numbers), tenant, cost=cost))
    for _ in range(45 * len(heavy)):
        start_first(room)
    room.enter(waits(next(numbers), "light", cost=its_cost))
    dearest = max(cost for _, cost in heavy)
    others = sum(max(c for t, c in heavy if t == tenant) for tenant in {t for t, _ in heavy})
    before = 0.0
    while (waiter := start_first(room)).request.tenant != "light":
        before += waiter.cost_gpu_s
    assert before <= others * TURN / (TURN - 1) + 2 * dearest


@given(crowds, st.randoms(use_true_random=False), tenants)
def test_permuting_one_tenants_requests_changes_nothing_for_the_others(crowd, rng, tenant):
    """Its own take each other's places; they cost alike, else it would change what it has had."""
    crowd = [(sender, 1.0 if sender[0] == tenant else cost) for sender, cost in crowd]
    for priority in Priority:
        before = room_of(crowd)
        own = [w for w in before.unbound if w.flow == (priority, tenant)]
        numbers = [w.number for w in own]
        rng.shuffle(numbers)
        after = WaitingRoom()
        swapped = {w.number: number for w, number in zip(own, numbers, strict=True)}
        for waiter in sorted(before, key=lambda w: swapped.get(w.number, w.number)):
            number = swapped.get(waiter.number, waiter.number)
            after.enter(Waiter(number, waiter.request, cost_gpu_s=waiter.cost_gpu_s))
        others = [w.number for w in before.unbound if w not in own]
        assert [w.number for w in after.unbound if w.number not in numbers] == others
        places = [n for n, w in enumerate(before.unbound) if w in own]
        assert [n for n, w in enumerate(after.unbound) if w.number in numbers] == places


@settings(max_examples=50)
@given(
    st.lists(st.tuples(senders, st.floats(0.5, 5.0)), min_size=1, max_size=12),
    st.lists(st.tuples(st.sampled_from(Priority), st.floats(0.5, 5.0)), min_size=1, max_size=20),
    st.integers(0, 11),
    st.booleans(),
)
def test_nobody_waits_for_ever(crowd, coming, pick, as_many):
    """Not even if others, or always new ones, come without end: see the module's own words."""
    room = room_of(crowd)
    watched = min(pick, len(crowd) - 1)
    bound = TURN * sum(cost for _, cost in crowd[: watched + 1])
    bound += max(cost for _, cost in crowd + coming)
    before = 0.0
    for number in count(1000):
        priority, cost = coming[number % len(coming)]
        room.enter(waits(number, f"new{number}" if as_many else "z", priority, cost=cost))
        waiter = start_first(room)
        before += waiter.cost_gpu_s
        if waiter.number == watched:
            break
        assert before <= bound, "it has starved"


def test_what_overtook_one_that_has_started_since_hastens_nobody_else():
    room = WaitingRoom()
    for number in range(400):
        room.enter(waits(100 + number, "cheap", cost=1.0))
    room.start(waits(0, "dear", cost=150.0))
    dear = waits(1, "dear", cost=30.0)
    room.enter(dear)
    started = [start_first(room) for _ in range(152)]
    assert dear in started
    room.enter(waits(999, "light"))
    assert "light" in [start_first(room).request.tenant for _ in range(3)]


def test_in_a_line_that_all_have_left_nobody_has_been_overtaken_or_is_owed_anything():
    """It makes no difference to who comes later that the oldest left, or a dear one went early."""
    room = room_of([(("low", Priority.LOW), 1.0), *[(("high", Priority.HIGH), 1.0)] * TURN])
    for _ in range(TURN - 1):
        start_first(room)
    oldest, *rest = sorted(room.unbound, key=lambda waiter: waiter.number)
    dear = waits(50, "high", Priority.HIGH, cost=1e6)
    room.enter(dear)
    room.start(dear)  # it is the oldest one's turn, but there is no place for that
    for waiter in (dear, *rest, oldest):
        room.leave(waiter)
    room.enter(waits(100, "low", Priority.LOW))
    for number in range(101, 101 + 2 * TURN):
        room.enter(waits(number, "high", Priority.HIGH))
    started = [start_first(room).number for _ in range(TURN)]
    assert started == [*range(101, 100 + TURN), 100]


def test_every_line_counts_its_own_turns_and_all_draw_on_the_same_shares():
    shares = Shares()
    one, other = Line(shares), Line(shares)
    for number, tenant in enumerate("abab"):
        line = one if number < 2 else other
        shares.join((Priority.NORMAL, tenant))
        line.add(waits(number, tenant))
    shares.charge((Priority.NORMAL, "a"), 1.0)
    assert [w.request.tenant for w in one] == ["b", "a"]
    assert [w.request.tenant for w in other] == ["b", "a"]


def test_who_goes_back_to_be_chosen_for_again_has_its_old_place():
    state = fleet("a")
    instance = state.instances["a"]
    room = WaitingRoom()
    first, second = waits(1), waits(2)
    residency = instance.residency(first.request.key)
    room.bind(first, instance, residency)
    room.enter(second)
    room.leave(first)
    room.enter(first)
    assert list(room.unbound) == [first, second]
    assert room.position(second) == 1


@given(crowds, st.lists(costs, max_size=30))
def test_a_fleet_ten_times_as_slow_serves_in_the_same_order(crowd, taken):
    """No cost is known before; each is corrected to what it took as the next one starts."""
    orders = []
    for scale in (1.0, 1024.0):  # a power of two: times scale without rounding
        room = room_of([(sender, 0.0) for sender, _ in crowd])
        order = []
        for _ in crowd:
            waiter = next(iter(room.unbound))
            charge = room.start(waiter)
            room.leave(waiter)
            order.append(waiter.number)
            if len(order) <= len(taken):
                room.shares.correct(charge, scale * taken[len(order) - 1])
        orders.append(order)
    assert orders[0] == orders[1]


@given(
    st.lists(st.tuples(st.sampled_from("mno"), tenants), min_size=1, max_size=60),
    st.integers(1, 12),
)
def test_those_who_wait_for_one_model_hide_nobody_who_waits_for_another(crowd, limit):
    room = WaitingRoom()
    for number, (model, tenant) in enumerate(crowd):
        room.enter(Waiter(number, asks(model, tenant=tenant)))
    first = list(room.unbound.first(limit))
    order = [w for w in room.unbound if w in first]
    assert first == order, "it is the order, with some left out"
    models = {model for model, _ in crowd}
    assert {w.request.model for w in first} == models
    assert len(first) <= max(limit, len(models))
    assert len(first) >= min(limit, len(crowd)) or len(models) > 1


# -- the limits ------------------------------------------------------------------------------------


@given(crowds, st.integers(0, 12), st.integers(1, 6))
def test_no_limit_is_ever_exceeded_and_only_like_or_lower_ones_make_room(crowd, limit, per_tenant):
    room = WaitingRoom(limit, per_tenant)
    for number, ((tenant, priority), cost) in enumerate(crowd):
        waiter = waits(number, tenant, priority, cost=cost, again=number % 7 == 6)
        if room.crowded(waiter):
            assert room.waiting_of(tenant) == per_tenant
            continue
        goes = room.admit(waiter)
        if goes is not None and goes is not waiter:
            assert not goes.excluded
            assert waiter.excluded or goes.request.priority >= priority
            room.leave(goes)
        if goes is not waiter:
            room.enter(waiter)
        assert len(room) == len(list(room)) <= limit
        assert room.waiting_of(tenant) <= per_tenant
    assert sum(room.waiting_of(tenant) for tenant in "abcd") == len(room)


def test_nobody_can_fill_the_room_alone():
    room = room_of([(("heavy", Priority.NORMAL), 1.0)] * 8, limit=8)
    kept = []
    for number in range(10, 20):
        waiter = waits(number, "light")
        goes = room.admit(waiter)
        if goes is waiter:
            break
        assert goes.request.tenant == "heavy"
        assert goes.number == max(w.number for w in room if w.request.tenant == "heavy")
        room.leave(goes)
        room.enter(waiter)
        kept.append(waiter)
    assert len(kept) == 4, "each has half"
    assert room.admit(waits(30, "heavy")).number == 30


def test_in_a_full_room_a_lower_class_makes_room_for_a_higher_one():
    room = room_of([(("a", Priority.LOW), 1.0), (("b", Priority.NORMAL), 1.0)], limit=2)
    assert room.admit(waits(5, "b", Priority.HIGH)).request.priority is Priority.LOW
    assert room.admit(waits(6, "c", Priority.LOW)).number == 6


@given(crowds)
def test_a_room_that_all_have_left_remembers_nobody(crowd):
    state = fleet("a")
    instance = state.instances["a"]
    room = WaitingRoom()
    waiters = []
    for number, ((tenant, priority), cost) in enumerate(crowd):
        waiter = waits(number, tenant, priority, cost=cost)
        waiters.append(waiter)
        if number % 2:
            room.enter(waiter)
        else:
            room.bind(waiter, instance, instance.residency(waiter.request.key))
    for waiter in waiters:
        room.leave(waiter)
        room.leave(waiter)
    assert (len(room), list(room), room.lines, room._flows) == (0, [], {}, {})
    assert not any(room.shares._waiting.values())
