import asyncio
import random
import time
from contextlib import suppress

import pytest
from fleet_fixtures import asks, fleet
from fleet_fixtures import strategy as made
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.errors import ConnectFailed
from ollama_fleet.router.admission import Admission, NobodyLeft, QueueFull, QueueTimeout
from ollama_fleet.router.plan import HORIZON
from ollama_fleet.router.strategies import STRATEGIES
from ollama_fleet.state import Completed, Phase


def admission(state, *, limit=8, timeout_s=60.0, strategy="least_conn"):
    rng = random.Random(1)
    return Admission(
        state, made(strategy), limit=limit, timeout_s=timeout_s, rng=rng, clock=time.monotonic
    )


async def settle():
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_free_slot_is_given_at_once_and_comes_back_with_the_lease():
    async def run():
        state = fleet("a", slots=1)
        with await admission(state).admit(asks()) as place:
            lease = place.lease
            assert lease.instance.in_flight == 1
            assert [name for name, _ in place.scores] == ["a"]
        assert (lease.instance.in_flight, lease.instance.bound, state.waiting) == (0, 0, 0)
        lease.release()
        assert lease.instance.in_flight == 0, "releasing twice must not count twice"

    asyncio.run(run())


def test_who_waits_is_served_in_order_as_slots_come_free():
    async def run():
        state = fleet("a", slots=1)
        door = admission(state)
        order = []

        async def visit(number):
            with await door.admit(asks()) as place:
                assert place.waited == (number > 0)
                order.append(number)
                await asyncio.sleep(0)

        await asyncio.gather(*(visit(n) for n in range(5)))
        assert order == [0, 1, 2, 3, 4]
        assert state.instances["a"].in_flight == 0

    asyncio.run(run())


def test_a_full_queue_refuses_at_once():
    async def run():
        state = fleet("a", slots=1)
        door = admission(state, limit=1)
        with await door.admit(asks()):
            waiting = asyncio.create_task(door.admit(asks()))
            await settle()
            with pytest.raises(QueueFull):
                await door.admit(asks())
            assert state.waiting == 1
            waiting.cancel()
            with suppress(asyncio.CancelledError):
                await waiting
        assert (state.waiting, state.instances["a"].bound) == (0, 0)

    asyncio.run(run())


def test_waiting_ends_at_the_deadline():
    async def run():
        state = fleet("a", slots=1)
        door = admission(state, timeout_s=0.0)
        with await door.admit(asks()):
            with pytest.raises(QueueTimeout):
                await door.admit(asks())
            assert (state.waiting, state.instances["a"].bound) == (0, 0)

    asyncio.run(run())


def test_a_request_tried_everywhere_is_refused():
    async def run():
        with pytest.raises(NobodyLeft):
            await admission(fleet("a")).admit(asks(), frozenset({"a"}))

    asyncio.run(run())


def test_a_fleet_that_stops_refuses_who_waits_and_who_comes():
    async def run():
        door = admission(fleet("a", slots=1))
        with await door.admit(asks()):
            waiting = asyncio.create_task(door.admit(asks()))
            await settle()
            door.close()
            for refused in (waiting, door.admit(asks())):
                with pytest.raises(NobodyLeft, match="stopping"):
                    await refused

    asyncio.run(run())


def test_who_waits_moves_on_when_the_instance_leaves():
    async def run():
        state = fleet("a", "b", slots=1)
        state.set_phase(state.instances["b"], Phase.BACKOFF, 0.0)
        door = admission(state)
        with await door.admit(asks()):
            second = asyncio.create_task(door.admit(asks()))
            await settle()
            assert state.instances["a"].bound == 1
            state.set_phase(state.instances["b"], Phase.READY, 1.0)
            state.set_phase(state.instances["a"], Phase.BACKOFF, 1.0)
            with await second as place:
                assert place.lease.instance.name == "b"

    asyncio.run(run())


def test_a_request_waits_while_no_instance_is_up_and_starts_with_the_first():
    async def run():
        state = fleet("a")
        state.set_phase(state.instances["a"], Phase.STARTING, 0.0)
        waiting = asyncio.create_task(admission(state).admit(asks()))
        await settle()
        assert not waiting.done()
        state.set_phase(state.instances["a"], Phase.READY, 1.0)
        (await waiting).lease.release()

    asyncio.run(run())


def test_a_caller_cancelled_in_the_moment_of_the_grant_gives_its_place_back():
    async def run():
        state = fleet("a", slots=1)
        door = admission(state)
        first = await door.admit(asks())
        second = asyncio.create_task(door.admit(asks()))
        await settle()
        first.lease.release()  # grants `second`, whose task has not run yet
        assert state.instances["a"].in_flight == 1
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        assert (state.instances["a"].in_flight, state.instances["a"].bound) == (0, 0)

    asyncio.run(run())


@given(
    script=st.lists(st.sampled_from(["arrive", "finish", "fail", "cancel", "die", "rise"])),
    strategy=st.sampled_from(sorted(STRATEGIES)),
)
def test_leases_and_waiting_return_to_zero_whatever_happens(script, strategy):
    async def run():
        state = fleet("a", "b", slots=2)
        door = admission(state, strategy=strategy, limit=5)
        gates, tasks = [], []

        async def visit(gate):
            with await door.admit(asks()):
                await gate

        for step in script:
            if step == "arrive":
                gates.append(asyncio.get_running_loop().create_future())
                tasks.append(asyncio.create_task(visit(gates[-1])))
            elif step == "finish" and gates and not gates[0].done():
                gates.pop(0).set_result(None)
            elif step == "fail" and gates and not gates[-1].done():
                gates.pop().set_exception(ConnectFailed("gone"))
            elif step == "cancel" and tasks:
                tasks[len(tasks) // 2].cancel()
            elif step in ("die", "rise"):
                phase = Phase.BACKOFF if step == "die" else Phase.READY
                state.set_phase(state.instances["a"], phase, 0.0)
            await settle()
            for instance in state.instances.values():
                assert 0 <= instance.in_flight <= 2
                assert instance.bound >= 0
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert state.waiting == 0
        assert not door._at_once, "an answer is kept that nobody takes"
        assert not door._futures
        for instance in state.instances.values():
            assert (instance.in_flight, instance.bound) == (0, 0)
            assert not instance.runners

    asyncio.run(run())


def test_who_waited_for_an_instance_that_left_goes_on_in_order_of_arrival():
    async def run():
        state = fleet("a", "b", slots=1)
        a, b = state.instances.values()
        state.set_phase(b, Phase.BACKOFF, 0.0)
        door = admission(state)
        order = []

        async def visit(number):
            with await door.admit(asks()) as place:
                order.append((number, place.lease.instance.name))
                await settle()

        first = await door.admit(asks())
        visits = [asyncio.create_task(visit(n)) for n in range(4)]
        await settle()
        state.set_phase(a, Phase.BACKOFF, 1.0)
        await settle()
        assert (a.bound, state.waiting) == (0, 4)
        first.lease.release()
        state.set_phase(b, Phase.READY, 2.0)
        await asyncio.gather(*visits)
        assert order == [(n, "b") for n in range(4)]

    asyncio.run(run())


def test_more_than_a_plan_holds_are_placed_when_the_fleet_comes_up_and_in_order():
    """And who arrives while they are being placed comes after them."""

    async def run():
        state = fleet("a", slots=1)
        (instance,) = state.instances.values()
        state.set_phase(instance, Phase.STARTING, 0.0)
        door = admission(state, limit=999)
        order = []

        async def visit(number):
            with await door.admit(asks()):
                order.append(number)

        visits = [asyncio.create_task(visit(n)) for n in range(3 * HORIZON)]
        await settle()
        state.set_phase(instance, Phase.READY, 1.0)
        visits.append(asyncio.create_task(visit(3 * HORIZON)))
        await asyncio.gather(*visits)
        assert order == list(range(3 * HORIZON + 1))

    asyncio.run(run())


def test_a_waiter_that_leaves_lets_those_behind_it_start():
    async def run():
        state = fleet("a", slots=2)
        door = admission(state)
        with await door.admit(asks()):
            other = asyncio.create_task(door.admit(asks(num_ctx=8)))
            behind = asyncio.create_task(door.admit(asks()))
            await settle()
            assert not behind.done()
            other.cancel()
            (await behind).lease.release()

    asyncio.run(run())


ARRIVALS = st.lists(st.sampled_from(["p", "q", "finish", "cancel"]), max_size=60)
CONTEXT = {"p": 0, "q": 8192}


class Clients:
    """Clients of two profiles at a door. Notes who starts where, in order, and who is inside."""

    def __init__(self, state, door):
        self.state, self.door = state, door
        self.started, self.inside = [], []
        self.tasks, self.gates = [], []

    async def visit(self, number, profile):
        with await self.door.admit(asks(num_ctx=CONTEXT[profile])) as place:
            name, gate = place.lease.instance.name, asyncio.Event()
            self.started.append((number, profile, name))
            self.inside.append((name, profile))
            self.gates.append(gate)
            self.state.outcome(place.lease, Completed(200))
            try:
                await gate.wait()
            finally:
                self.gates.remove(gate)
                self.inside.remove((name, profile))

    def check(self):
        for name, instance in self.state.instances.items():
            profiles = [profile for at, profile in self.inside if at == name]
            assert len(profiles) == instance.in_flight <= instance.spec.slots
            assert len(set(profiles)) <= 1, "they would reload each other's model"

    async def play(self, script):
        for number, step in enumerate(script):
            if step in CONTEXT:
                self.tasks.append(asyncio.create_task(self.visit(number, step)))
            elif step == "finish" and self.gates:
                self.gates[0].set()
            elif step == "cancel" and self.tasks:
                self.tasks.pop().cancel()
            await settle()
            self.check()
        while self.gates:
            self.gates[0].set()
            await settle()
            self.check()
        await asyncio.gather(*self.tasks)


@given(ARRIVALS, st.sampled_from(sorted(STRATEGIES)))
def test_two_profiles_that_have_settled_on_two_instances_never_reload_again(script, strategy):
    """Whatever arrives in whatever order: each goes where its own profile is in memory."""

    async def run():
        state = fleet("a", "b", slots=2)
        clients = Clients(state, admission(state, strategy=strategy, limit=999))
        await clients.play(["p", "q"])
        home = {profile: name for _, profile, name in clients.started}
        assert set(home.values()) == {"a", "b"}
        clients.started.clear()
        await clients.play(script)
        assert all(home[profile] == name for _, profile, name in clients.started)

    asyncio.run(run())


@given(ARRIVALS)
def test_a_lone_instance_serves_all_profiles_in_order_of_arrival_one_at_a_time(script):
    """So a waiting profile has its turn however many of the running one arrive after it."""

    async def run():
        state = fleet("a", slots=2)
        clients = Clients(state, admission(state, limit=999))
        await clients.play(script)
        numbers = [number for number, _, _ in clients.started]
        assert numbers == sorted(numbers)
        asked = sum(step in CONTEXT for step in script)
        assert len(numbers) + script.count("cancel") >= asked
        assert (state.waiting, state.instances["a"].bound) == (0, 0)

    asyncio.run(run())


@pytest.mark.parametrize("strategy", ["adaptive", "least_conn"])
def test_a_place_offered_to_who_is_just_leaving_goes_to_the_next(strategy):
    async def run():
        state = fleet("a", slots=1)
        door = admission(state, strategy=strategy)
        first = await door.admit(asks())
        leaving, staying = (asyncio.create_task(door.admit(asks())) for _ in range(2))
        await settle()
        leaving.cancel()
        first.lease.release()
        await settle()
        assert leaving.cancelled()
        assert staying.done()
        staying.result().lease.release()
        assert (state.waiting, state.instances["a"].in_flight) == (0, 0)

    asyncio.run(run())
