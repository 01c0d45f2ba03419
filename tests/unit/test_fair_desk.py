"""Shares of a busy fleet, on virtual time: the very desk, its accounts and its queue."""

import heapq
import random
from collections import Counter
from itertools import count

import pytest
from fleet_fixtures import asks, fleet, resident, strategy
from hypothesis import given, settings
from hypothesis import strategies as st

from ollama_fleet.router.desk import Desk
from ollama_fleet.router.intake import Priority
from ollama_fleet.router.queue import TURN, Waiter

costs = st.floats(0.1, 20.0)


class Fleet:
    """One instance whose requests take as long as they say."""

    def __init__(self, slots=1, limit=10_000, cost=lambda _request, _instance: 0.0):
        self.state = fleet("a", slots=slots)
        self.state.set_resident(self.state.instances["a"], [resident("m")])
        self.now_s = 0.0
        self.took_s = Counter()
        self.waited_s = {}
        self.refused = []
        self._numbers = count(1)
        self._ends = []
        self._takes_s = {}
        rng = random.Random(1)
        self.desk = Desk(
            self.state,
            strategy("least_conn"),
            limit=limit,
            rng=rng,
            grant=self._grant,
            refuse=lambda waiter, _: self.refused.append(waiter),
            later=lambda call: call(self.now_s),
            cost=cost,
        )
        self.state.on_began.append(lambda lease: self.state.sent(lease, self.now_s))
        self.state.on_release.append(lambda lease: self.desk.freed(lease, self.now_s))

    def _grant(self, waiter, instance, _scores):
        number, request = waiter.number, waiter.request
        lease = self.state.lease(instance, request.key, request.profile)
        self.waited_s[number] = self.now_s - waiter.arrived_s
        end_s = self.now_s + self._takes_s[number]
        heapq.heappush(self._ends, (end_s, number, lease, request.tenant))
        return lease

    def ask(self, tenant, takes_s, priority=Priority.NORMAL):
        request = asks(tenant=tenant, priority=priority)
        waiter = Waiter(next(self._numbers), request, arrived_s=self.now_s)
        self._takes_s[waiter.number] = takes_s
        self.desk.arrive(waiter, self.now_s)
        return waiter.number

    def step(self):
        """Go on to the next end."""
        self.now_s, number, lease, tenant = heapq.heappop(self._ends)
        self.took_s[tenant] += self._takes_s[number]
        lease.release()


@settings(max_examples=25)
@given(st.dictionaries(st.sampled_from("abcd"), costs, min_size=2), st.integers(1, 4))
def test_who_asks_without_end_gets_the_same_time_as_others_whatever_a_request_takes(takes_s, slots):
    fleet = Fleet(slots)
    for _ in range(60):
        for tenant, one_s in takes_s.items():
            fleet.ask(tenant, one_s)
    for _ in range(50):
        fleet.step()
    had = [fleet.took_s[tenant] for tenant in takes_s]
    assert max(had) - min(had) <= 2 * (slots + 1) * max(takes_s.values())


@pytest.mark.parametrize("known", [False, True])
def test_a_tenant_whose_requests_take_long_gets_the_slots_that_were_free_and_no_more(known):
    """Before the first of them has ended, only what is expected of it says what it takes."""
    takes_s = {"heavy": 100.0, "light": 1.0}

    def cost(request, _instance):
        return takes_s[request.tenant] / 4 if known else 0.0

    fleet = Fleet(slots=4, cost=cost)
    for _ in range(200):
        for tenant, one_s in takes_s.items():
            fleet.ask(tenant, one_s)
    most = 0
    for _ in range(60):
        fleet.step()
        most = max(most, sum(tenant == "heavy" for *_, tenant in fleet._ends))
    assert most == (2 if known else 4)


@settings(max_examples=25)
@given(st.lists(costs, min_size=1, max_size=4), st.integers(5, 60), costs)
def test_a_light_tenants_wait_is_bounded_whatever_heavy_ones_do(heavy_s, crowd, light_s):
    fleet = Fleet()
    for _ in range(crowd):
        for number, takes_s in enumerate(heavy_s):
            fleet.ask(f"heavy{number}", takes_s)
    for _ in range(crowd // 2):
        fleet.step()
    light = fleet.ask("light", light_s)
    while light not in fleet.waited_s:
        fleet.step()
    # One of each, one that was running, one that was due by arrival, and what goes by arrival else.
    # A charge is the usual cost until a request has ended: an account may be one request behind.
    before = (len(heavy_s) + 1) * TURN / (TURN - 1) + 2
    assert fleet.waited_s[light] <= before * max(heavy_s)


def test_the_fleet_works_on_as_long_as_anybody_waits():
    fleet = Fleet(slots=2)
    for number in range(20):
        fleet.ask("abc"[number % 3], 1.0 + number % 5, list(Priority)[number % 3])
    in_flight = []
    while fleet.desk or fleet._ends:
        in_flight.append((len(fleet.desk), fleet.state.instances["a"].in_flight))
        fleet.step()
    assert all(running == 2 for waiting, running in in_flight if waiting)
    assert sum(fleet.took_s.values()) == sum(1.0 + n % 5 for n in range(20))


def test_in_a_full_queue_a_light_tenant_is_let_in():
    fleet = Fleet(limit=4)
    for _ in range(10):
        fleet.ask("heavy", 1.0)
    refused = len(fleet.refused)
    light = fleet.ask("light", 1.0)
    assert [w.request.tenant for w in fleet.refused[refused:]] == ["heavy"]
    while light not in fleet.waited_s:
        fleet.step()
    assert len(fleet.desk) <= 4


def arrivals(rng, tenant, rate_per_s, end_s):
    at_s = rng.expovariate(rate_per_s)
    while at_s < end_s:
        yield at_s, tenant
        at_s += rng.expovariate(rate_per_s)


def busy(load, seed=7, *, slots=8):
    """(share of the slots' time that was used, times of a light tenant's answers, its refusals)."""
    rng, fleet, light = random.Random(seed), Fleet(slots, limit=64), {}
    heavy = arrivals(rng, "heavy", load * slots, 200.0)
    for at_s, tenant in sorted([*heavy, *arrivals(rng, "light", 0.2, 200.0)]):
        while fleet._ends and fleet._ends[0][0] <= at_s:
            fleet.step()
        fleet.now_s = at_s
        takes_s = rng.expovariate(1.0)
        number = fleet.ask(tenant, takes_s)
        if tenant == "light":
            light[number] = takes_s
    used = fleet.took_s.total() / (slots * fleet.now_s)
    times_s = [fleet.waited_s[n] + takes_s for n, takes_s in light.items() if n in fleet.waited_s]
    return used, sorted(times_s), [w for w in fleet.refused if w.number in light]


def test_at_three_times_what_it_can_do_the_fleet_works_on_and_a_light_tenant_hardly_notices():
    _, quiet_s, _ = busy(0.1)
    used, times_s, refused = busy(3.0)
    assert used >= 0.95
    assert not refused
    assert times_s[int(0.95 * len(times_s))] < 3 * quiet_s[int(0.95 * len(quiet_s))]
