"""A replay serves every job once, on slots that there are, and the same way again."""

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ollama_fleet.estimate import Estimates
from ollama_fleet.replay import arrivals, workload
from ollama_fleet.replay.bounds import lower_bound_s
from ollama_fleet.replay.clock import Clock
from ollama_fleet.replay.disturbance import Lost, Slowed
from ollama_fleet.replay.hardware import Hardware
from ollama_fleet.replay.job import Job
from ollama_fleet.replay.layout import (
    Host,
    Layout,
    Model,
    digest_of,
    host_of,
    joined,
    of_profile,
)
from ollama_fleet.replay.learning import learning
from ollama_fleet.replay.run import Made, replay
from ollama_fleet.replay.summary import quantile, summary
from ollama_fleet.replay.telling import Telling
from ollama_fleet.replay.truth import Truth
from ollama_fleet.router.strategies import STRATEGIES, Tools
from ollama_fleet.sim.ollama.profile import Node, load
from ollama_fleet.sim.ollama.rates import Rates

BOX = load("4-mixed")
MIXED, CPU = of_profile(BOX), BOX.cpu
MODEL = "llama3.1:8b"
ONE = MIXED.warm(MODEL)
MANY = {MODEL: 0.6, "qwen3:8b": 0.3, "mistral:7b": 0.1}


def blind(name):
    return lambda _state, _clock, rng: Made(
        STRATEGIES[name](Tools(speeds=Estimates(), rng=rng, model_aware=False))
    )


def asked(number=200, rate_per_s=2.5, models=None, seed=1, **more):
    shares = models or {MODEL: 1.0}
    return workload.independent(number, arrivals.poisson(rate_per_s), shares, seed=seed, **more)


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_job_is_served_once_whatever_the_strategy(name):
    """Also where models have to be loaded and make room for one another."""
    outcome = replay(MIXED, asked(models=MANY), learning(STRATEGIES[name]))
    assert all(fate.instance and not fate.refused for fate in outcome.fates)
    assert len(outcome.decisions) == 200
    for fate in outcome.fates:
        assert fate.arrived_s <= fate.started_s < fate.first_s <= fate.ended_s


@settings(max_examples=8, deadline=None)
@given(st.sampled_from(["adaptive", "least_conn", "late_least_conn"]), st.integers(0, 99))
def test_no_instance_works_on_more_requests_for_a_model_than_it_has_slots(name, seed):
    outcome = replay(MIXED, asked(60, 6.0, MANY, seed), learning(STRATEGIES[name]))
    slots = {host.spec.name: host.spec.slots for host in MIXED.hosts}
    changes = {}
    for fate in outcome.fates:
        at = changes.setdefault((fate.instance, fate.job.model), [])
        at += [(fate.started_s, 1), (fate.ended_s, -1)]
    for (instance, _), steps in changes.items():
        busy = 0
        for _, step in sorted(steps, key=lambda s: (s[0], s[1])):
            busy += step
            assert busy <= slots[instance]


@pytest.mark.parametrize("name", ["adaptive", "power_of_two"])
def test_the_same_arguments_give_the_same_outcome(name):
    one, two = (replay(ONE, asked(), learning(STRATEGIES[name]), seed=7) for _ in range(2))
    assert one.decisions == two.decisions
    assert [f.ended_s for f in one.fates] == [f.ended_s for f in two.fates]


@settings(max_examples=10, deadline=None)
@given(
    st.sampled_from(["adaptive", "least_conn", "round_robin"]),
    st.floats(0.5, 6.0),
    st.integers(0, 99),
)
def test_nobody_beats_the_lower_bound(name, rate_per_s, seed):
    outcome = replay(ONE, asked(60, rate_per_s, seed=seed), learning(STRATEGIES[name]))
    mean_s = summary(outcome).mean_s
    assert mean_s >= lower_bound_s(ONE, outcome.fates) * (1 - 1e-9)


def test_one_request_after_the_other_on_one_fast_instance_reaches_the_bound():
    """The bound is no lower than it has to be: alone on the fastest there is nothing to lose."""
    alone = Layout("alone", MIXED.hosts[:1], MIXED.models).warm(MODEL)
    outcome = replay(alone, asked(20, 0.01), blind("least_conn"))
    bound_s = lower_bound_s(alone, outcome.fates)
    assert summary(outcome).mean_s == pytest.approx(bound_s)


def test_a_fleet_ten_times_slower_decides_the_same():
    """Nothing that decides knows how long a second is.

    What learns does not either, but for what it takes a token to last before it has seen one.
    """
    slow = Layout("slow", tuple(map(_ten_times_slower, MIXED.hosts)), MIXED.models)
    jobs = asked(80, models=MANY)
    later = [Job(j.arrival_s * 10, j.model, j.prompt_tokens, j.output_tokens, j.text) for j in jobs]
    truths = (
        replay(layout, some, clairvoyant(layout), telling=Telling(lengths=True))
        for layout, some in ((MIXED, jobs), (slow, later))
    )
    fast, slow_ones = ([d.instance for d in truth.decisions] for truth in truths)
    assert fast == slow_ones
    adaptive = STRATEGIES["adaptive"]
    jobs, later = asked(150), asked(150, 0.25)
    learned = summary(replay(ONE, jobs, learning(adaptive, look_s=0.5)), 0.3)
    slowly = summary(replay(slow.warm(MODEL), later, learning(adaptive, look_s=5.0)), 0.3)
    assert slowly.mean_s == pytest.approx(10 * learned.mean_s, rel=0.05)


def _ten_times_slower(host):
    return Host(host.spec, Hardware(host.hardware.gpu.faster(0.1), CPU, host.hardware.limits))


def clairvoyant(layout):
    return lambda _state, clock, rng: Made(
        STRATEGIES["adaptive"](Tools(speeds=Truth(layout, (), lambda: clock.now_s), rng=rng))
    )


# -- disturbances ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["adaptive", "least_conn", "late_least_conn"])
def test_an_instance_that_dies_loses_nothing_that_nobody_has_read(name):
    """What was not begun to be answered is served elsewhere; the instance is used again after."""
    dies = (Lost("gpu-0", 20.0, 40.0),)
    jobs = [_whole(job) for job in asked(200, 2.0)]
    outcome = replay(ONE, jobs, learning(STRATEGIES[name]), disturbances=dies)
    assert not any(fate.refused for fate in outcome.fates)
    assert all(fate.instance for fate in outcome.fates)
    assert not [d for d in outcome.decisions if d.instance == "gpu-0" and 20.0 <= d.at_s < 40.0]
    assert [d for d in outcome.decisions if d.instance == "gpu-0" and d.at_s >= 40.0]


def test_a_stream_that_has_begun_is_broken_when_its_instance_dies():
    """And only such streams: an answer of which a part was read is never tried again."""
    dies = (Lost("gpu-0", 20.0, 40.0),)
    outcome = replay(ONE, asked(200, 2.0), blind("least_conn"), disturbances=dies)
    broken = [fate for fate in outcome.fates if fate.refused]
    assert broken
    for fate in broken:
        assert (fate.refused, fate.ended_s) == ("StreamBroken", 20.0)
        assert 0.0 < fate.first_s <= 20.0


def test_a_load_that_is_under_way_when_the_instance_dies_is_made_elsewhere():
    jobs = [Job(0.0, MODEL, 10, 10, 0)]
    outcome = replay(MIXED, jobs, blind("least_conn"), disturbances=[Lost("gpu-0", 1.0, 90.0)])
    assert outcome.decisions[0].instance == "gpu-0"
    assert outcome.fates[0].instance not in ("", "gpu-0")
    assert outcome.loads == 2


def test_a_slowed_instance_takes_longer_while_it_is_slowed_and_no_longer():
    alone = Layout("alone", MIXED.hosts[:1], MIXED.models).warm(MODEL)
    jobs = [Job(10.0 * n, MODEL, 400, 200, n) for n in range(3)]
    slow = Slowed("gpu-0", 9.0, 19.0, 3.0)
    fates = replay(alone, jobs, blind("least_conn"), disturbances=[slow]).fates
    before, during, after = (fate.latency_s for fate in fates)
    assert during == pytest.approx(3 * before)
    assert after == pytest.approx(before)


def _whole(job):
    return Job(
        job.arrival_s, job.model, job.prompt_tokens, job.output_tokens, job.text, stream=False
    )


# -- conversations ---------------------------------------------------------------------------------


def test_a_turn_comes_after_the_answer_before_it_was_read():
    jobs = workload.conversations(
        5, 4, arrivals.poisson(0.2), MODEL, seed=3, think_s=lambda rng: rng.uniform(1.0, 2.0)
    )
    fates = replay(ONE, jobs, learning(STRATEGIES["adaptive"])).fates
    assert len(fates) == 20
    for before, fate in pairwise(fates):
        if fate.job.follows is not None:
            assert 1.0 <= fate.arrived_s - before.ended_s <= 2.0
            assert fate.job.prompt_tokens > before.job.prompt_tokens + before.job.output_tokens


def test_a_turn_finds_what_was_said_before_in_the_cache_of_the_same_instance():
    alone = Layout("alone", MIXED.hosts[:1], MIXED.models).warm(MODEL)
    jobs = [Job(0.0, MODEL, 1000, 100, 1), Job(1.0, MODEL, 1200, 10, 1, follows=0)]
    first, second = replay(alone, jobs, blind("least_conn")).fates
    rates = alone.hosts[0].hardware.gpu
    assert first.ttft_s == pytest.approx(rates.prefill_s(1000))
    assert second.ttft_s == pytest.approx(rates.prefill_s(100))


# -- parts -----------------------------------------------------------------------------------------


def test_the_clock_keeps_the_order_of_equal_times_and_ends_with_the_last_step():
    """What is done again and again does not keep it going."""
    clock, done = Clock(), []
    clock.every(1.0, lambda: done.append(("tick", clock.now_s)))
    for name in "ab":
        clock.at(2.5, lambda name=name: done.append((name, clock.now_s)))
    clock.at(-1.0, lambda: done.append(("late", clock.now_s)))
    while clock.step():
        pass
    assert done == [("late", 0.0), ("tick", 1.0), ("tick", 2.0), ("a", 2.5), ("b", 2.5)]


def test_a_summary_counts_what_comes_after_the_warm_up():
    outcome = replay(ONE, asked(100), blind("least_conn"))
    whole, counted = summary(outcome), summary(outcome, 0.1)
    assert (whole.requests, counted.requests) == (100, 90)
    latencies = sorted(f.latency_s for f in outcome.fates[10:])
    assert counted.p99_s == quantile(latencies, 0.99) == latencies[math.ceil(0.99 * 90) - 1]
    assert sum(counted.shares.values()) == pytest.approx(1.0)
    assert (counted.refused, counted.unfinished, counted.cold_loads) == (0, 0, 0)


def test_more_instances_get_names_of_their_own():
    node = Node(0, "more", 12 * 10**9, 2, Rates(100.0, 0.1, 0.1, 1e9))
    more = joined(MIXED, [host_of(node, node.rates), host_of(node, node.rates)])
    assert [h.spec.name for h in more.hosts] == [
        "gpu-0",
        "gpu-1",
        "gpu-2",
        "gpu-3",
        "gpu-0-2",
        "gpu-0-3",
    ]
    outcome = replay(more.warm(MODEL), asked(50, 8.0), blind("round_robin"))
    assert {d.instance for d in outcome.decisions} == {h.spec.name for h in more.hosts}


def test_a_model_that_no_gpu_holds_whole_is_served_in_part_by_the_cpu():
    """As Ollama does; the truth about its rates is what the server goes by."""
    large = Model("large", 24 * 10**9, "24B", "Q4", "llama")
    layout = Layout("one", MIXED.hosts[:1], (large,)).warm("large")
    fate = replay(layout, [Job(0.0, "large", 100, 2, 0)], blind("least_conn")).fates[0]
    speed = Truth(layout, (), lambda: 0.0).speed("gpu-0", digest_of("large"))
    assert fate.latency_s == pytest.approx(speed.prefill_s(100) + speed.token_s(1))
    assert fate.latency_s > MIXED.hosts[0].hardware.gpu.prefill_s(100) * 2
