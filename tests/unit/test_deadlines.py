"""How long a request waits, on virtual time: as long as it may, and as long as it wants."""

import random

import pytest
import virtual_time
from fleet_fixtures import asks, fleet, resident, strategy
from msgspec.structs import replace

from ollama_fleet.estimate import Estimates, Observation
from ollama_fleet.names import canonical
from ollama_fleet.router.admission import Admission, QueueTimeout
from ollama_fleet.router.costs import Costs
from ollama_fleet.router.strategies import Expectations


def admission(state, timeout_s, chooses=None, **more):
    return Admission(
        state,
        chooses or strategy("least_conn"),
        limit=9,
        timeout_s=timeout_s,
        rng=random.Random(1),
        clock=virtual_time.now,
        **more,
    )


@pytest.mark.parametrize(
    ("timeout_s", "deadline_s", "age_s", "waits_s"),
    [(60, 5, 0, 5), (3, 5, 0, 3), (60, 5, 4, 1), (60, 5, 9, 0), (60, float("inf"), 9, 60)],
    ids=["a deadline", "the queue's own", "what is left of it", "nothing is", "none"],
)
def test_it_waits_until_the_first_of_the_queues_limit_and_its_own(
    timeout_s, deadline_s, age_s, waits_s
):
    async def check():
        door = admission(fleet("a", slots=1), timeout_s)
        with await door.admit(asks()):
            began_s = virtual_time.now()
            with pytest.raises(QueueTimeout, match=f"in {waits_s} s"):
                await door.admit(asks(deadline_s=deadline_s), age_s=age_s)
            assert virtual_time.now() - began_s == pytest.approx(waits_s)

    virtual_time.run(check())


def test_who_can_start_at_once_does_however_late_it_is():
    async def check():
        door = admission(fleet("a", slots=1), 60.0)
        with await door.admit(asks(deadline_s=1.0), age_s=9.0) as place:
            assert not place.waited

    virtual_time.run(check())


def test_it_goes_elsewhere_when_what_it_waits_for_is_long_overdue():
    async def check():
        state, estimates = fleet("a", "b", slots=1), Estimates()
        for name, token_s in [("a", 0.02), ("b", 1.0)] * 40:
            state.set_resident(state.instances[name], [resident("m")])
            seen = Observation(instance=name, weights="d-m", key=canonical("m"), output_tokens=50)
            estimates.learn(replace(seen, prefill_s=0.1, decode_s=49 * token_s))
        cost = Costs(estimates, Expectations(estimates)).gpu_s
        door = admission(state, 3600.0, strategy("adaptive", speeds=estimates), cost=cost)
        with await door.admit(asks(stream=True)) as slow:
            state.sent(slow.lease, 0.0)
            state.progress(slow.lease, lambda: 45 + round(virtual_time.now() / 0.02), 0.1)
            with await door.admit(asks()) as place:
                assert (slow.lease.instance.name, place.lease.instance.name) == ("a", "b")
                assert 0 < virtual_time.now() < 300

    virtual_time.run(check())
