"""A study: who plays what when, on which requests, and what a client's answer is as a fate."""

from collections import Counter

import pytest
import yaml

from ollama_fleet.bench.processes.cases import EQUAL, FAMILIES, case, simulated_box
from ollama_fleet.bench.processes.client import Answer
from ollama_fleet.bench.processes.contenders import NAMES, contender
from ollama_fleet.bench.processes.fleets import configuration
from ollama_fleet.bench.processes.prompts import Route
from ollama_fleet.bench.processes.run import fate
from ollama_fleet.bench.processes.study import START_S, Scale, expected_s, replayed, turns
from ollama_fleet.bench.routing.scenarios import scenarios
from ollama_fleet.errors import FleetError
from ollama_fleet.replay.job import Job
from ollama_fleet.replay.layout import of_profile
from ollama_fleet.sim.ollama import profile

SMALL = Scale(requests=40, seeds=2, time_scale=20.0)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_strategy_plays_every_seed_once_and_none_is_always_first(family):
    one = case(family)
    found = turns([one], len(one.contenders))
    seeds = range(1, len(one.contenders) + 1)
    assert Counter((t.seed, t.name) for t in found) == Counter(
        (seed, name) for seed in seeds for name in one.contenders
    )
    firsts = [next(t.name for t in found if t.seed == seed) for seed in seeds]
    assert sorted(firsts) == sorted(one.contenders)
    assert [t.seed for t in found] == sorted(t.seed for t in found)


def test_named_strategies_replace_a_cases_own():
    assert {t.name for t in turns([case("poisson")], 2, ["peak_ewma"])} == {"peak_ewma"}


def asked(job):
    return job.arrival_s, job.model, job.prompt_tokens, job.output_tokens, job.text, job.stream


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_seed_asks_the_same_and_another_something_else(family):
    one, again = case(family), case(family)
    first = [asked(job) for job in one.jobs(1, 50)]
    assert first == [asked(job) for job in again.jobs(1, 50)]
    assert first != [asked(job) for job in one.jobs(2, 50)]


def test_a_case_is_the_scenario_of_the_replays_table():
    """The same layout, the same requests (the first of them), the same targets but for replays'."""
    known = {scenario.name: scenario for scenario in scenarios()}
    for family in ("constant", "poisson", "bursty", "models", "v1", "equal"):
        one = case(family)
        scenario = known[one.name]
        ours, theirs = one.jobs(3, 200), scenario.jobs(3)[:200]
        assert [asked(a)[1:] for a in ours] == [asked(b)[1:] for b in theirs]
        assert [a.arrival_s for a in ours] == pytest.approx([b.arrival_s for b in theirs])
        only_replays = ("distance_to_clairvoyant",)
        assert [*one.target] == [b for b in scenario.target if b.column not in only_replays]
        assert one.layout.resident == scenario.layout.resident
        assert [h.hardware for h in one.layout.hosts] == [h.hardware for h in scenario.layout.hosts]


def test_trouble_is_over_while_requests_still_come():
    for family in ("slowed", "killed"):
        one = case(family)
        (trouble,) = one.troubles(120)
        assert 0 < trouble.from_s < trouble.to_s < 120 / one.rate_per_s
    assert case("poisson").troubles(120) == ()


def test_the_simulated_box_is_the_layouts(tmp_path):
    """What the processes are started with is what the replay has, down to the rates."""
    path = simulated_box(EQUAL, tmp_path)
    assert of_profile(profile.load(path)).hosts == case("equal").layout.hosts
    assert simulated_box(profile.DEFAULT, tmp_path) == profile.DEFAULT


def test_only_adaptive_knows_of_models_unless_the_name_says_otherwise():
    assert {n for n in NAMES if contender(n).model_aware} == {
        "adaptive",
        "adaptive /v1",
        "resident least_conn",
    }
    assert contender("adaptive /v1").route is Route.V1
    with pytest.raises(FleetError, match="there is no strategy fastest"):
        contender("fastest")


def test_a_fleet_is_configured_as_its_contender():
    fleet_yaml = configuration(case("poisson").layout, contender("least_conn"), 10.0)
    written = yaml.safe_load(yaml.safe_dump(fleet_yaml))
    assert written["routing"] == {"strategy": "least_conn", "model_aware": False}
    assert [g["num_parallel"] for g in written["groups"]] == [4, 4, 4, 2]
    assert written["models"] == {"llama3.1:8b": {"preload": True}}
    assert written["supervision"]["probe_interval"] == "0.2s"


def test_the_expected_time_is_that_of_the_replays():
    one = case("constant")
    found = turns([one], SMALL.seeds, ["least_conn"])
    last_s = max(f.ended_s for f in replayed(found[0], SMALL).fates)
    assert expected_s(found, SMALL) == pytest.approx(2 * (last_s / 20.0 + START_S))


def test_a_fate_counts_from_when_a_request_was_due_in_simulated_seconds():
    job = Job(10.0, "m", 8, 4, 0)
    answer = Answer(due_s=1.0, sent_s=1.1, first_s=1.5, ended_s=2.0, instance="gpu0")
    found = fate(job, answer, 10.0)
    assert (found.ttft_s, found.latency_s, found.instance) == (5.0, 10.0, "gpu0")


def test_an_answer_that_is_not_whole_was_not_served():
    answer = Answer(due_s=1.0, ended_s=2.0, instance="gpu0", error="the answer was cut off")
    found = fate(Job(10.0, "m", 8, 4, 0), answer, 10.0)
    assert (found.instance, found.refused) == ("", "the answer was cut off")
