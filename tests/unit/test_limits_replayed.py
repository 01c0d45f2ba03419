"""Slots that nobody told, found out on virtual time: by the very router, on simulated servers."""

from dataclasses import replace

import pytest

from ollama_fleet.replay import arrivals, workload
from ollama_fleet.replay.layout import of_profile
from ollama_fleet.replay.learning import learning
from ollama_fleet.replay.run import replay
from ollama_fleet.replay.telling import Telling
from ollama_fleet.router.strategies import STRATEGIES
from ollama_fleet.sim.ollama import profile

MODEL = "llama3.1:8b"
PER_S = 9.0  # requests, more than the first GPU of the box can serve


def overloaded(slots, *, told=1, most=64, durations=True, requests=2400):
    """The slots that one server was given at last, and how many of the later half it served.

    It runs so many at once; the fleet was told `told`, and may give it `most`.
    """
    layout = of_profile(profile.load("4-mixed")).warm(MODEL)
    host = layout.hosts[0]
    limits = replace(host.hardware.limits, parallel=slots)
    host = replace(
        host,
        spec=replace(host.spec, slots=told, most_slots=most),
        hardware=replace(host.hardware, limits=limits),
    )
    states = []

    def making(state, clock, rng):
        states.append(state)
        return learning(STRATEGIES["adaptive"])(state, clock, rng)

    outcome = replay(
        replace(layout, hosts=(host,)),
        workload.independent(requests, arrivals.poisson(PER_S), {MODEL: 1.0}, seed=1),
        making,
        telling=Telling(durations=durations),
        queue_limit=32,
    )
    (instance,) = states[0].instances.values()
    served = sum(bool(fate.instance) for fate in outcome.fates[requests // 2 :])
    return max(instance.limits.values(), default=told), served


@pytest.mark.parametrize("durations", [True, False], ids=["/api", "/v1"])
@pytest.mark.parametrize("slots", [1, 4, 6])
def test_a_server_of_unknown_slots_soon_serves_as_much_as_one_whose_slots_are_known(
    slots, durations
):
    found, served = overloaded(slots, durations=durations)
    _, could = overloaded(slots, told=slots, most=slots, durations=durations)
    assert abs(found - slots) <= 1
    assert served >= 0.9 * could


def test_a_server_that_runs_fewer_than_told_is_found_out_by_the_time_that_is_left_over():
    found, _ = overloaded(1, told=4, most=4, requests=4000)
    assert found <= 2


@pytest.mark.parametrize("slots", [2, 4])
def test_slots_as_told_stay_as_told_where_they_are_right(slots):
    found, _ = overloaded(slots, told=slots, most=slots)
    assert found == slots
