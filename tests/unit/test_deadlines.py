"""How long a request waits, on virtual time: as long as it may, and as long as it wants."""

import random
from dataclasses import replace

import pytest
import virtual_time
from fleet_fixtures import asks, fleet, strategy

from ollama_fleet.router.admission import Admission, QueueTimeout


def admission(state, timeout_s):
    rng = random.Random(1)
    chooses = strategy("least_conn")
    return Admission(state, chooses, limit=9, timeout_s=timeout_s, rng=rng, clock=virtual_time.now)


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
                await door.admit(replace(asks(), deadline_s=deadline_s), age_s=age_s)
            assert virtual_time.now() - began_s == pytest.approx(waits_s)

    virtual_time.run(check())


def test_who_can_start_at_once_does_however_late_it_is():
    async def check():
        door = admission(fleet("a", slots=1), 60.0)
        with await door.admit(replace(asks(), deadline_s=1.0), age_s=9.0) as place:
            assert not place.waited

    virtual_time.run(check())
