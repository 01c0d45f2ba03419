"""The table of strategies: its verdicts come from its columns, its scenarios ask what they say."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.bench.routing.contenders import CONTENDERS
from ollama_fleet.bench.routing.scenarios import MODELS, scenarios
from ollama_fleet.bench.routing.table import (
    Bound,
    Row,
    Trial,
    half_width,
    holds,
    least,
    most,
    summed_up,
    text,
)
from ollama_fleet.bench.routing.trial import trial

COLUMNS = (
    "scenario", "strategy", "seeds", "requests", "mean_s", "mean_ci95_s", "p99_s", "ttft_mean_s",
    "cold_loads", "ratio_mean", "ratio_p99", "distance_to_clairvoyant", "target", "holds",
)  # fmt: skip


def tried(mean_s, p99_s=10.0, **figures):
    return Trial(mean_s, p99_s, 0.5, 3600, 4, 1.0, figures)


def row(**changes):
    trials = {
        "adaptive": [tried(2.0), tried(4.0)],
        "least_conn": [tried(5.0, 40.0), tried(7.0, 40.0)],
        "clairvoyant": [tried(2.5), tried(2.5)],
    }
    made = summed_up("s", "adaptive", trials, (most("ratio_mean", 0.5),))
    return replace(made, **changes)


def test_a_row_compares_the_means_over_all_seeds():
    made = row()
    assert (made.seeds, made.requests, made.mean_s) == (2, 7200, 3.0)
    assert made.ratio_mean == pytest.approx(0.5)
    assert made.ratio_p99 == pytest.approx(0.25)
    assert made.distance_to_clairvoyant == pytest.approx(1.2)
    assert made.distance_to_bound == pytest.approx(3.0)


def test_a_document_has_every_column_that_is_asked_for():
    document = json.loads(json.dumps(row().document()))
    assert set(COLUMNS) <= set(document)
    assert document["target"] == ["ratio_mean <= 0.5"]


@given(st.floats(0, 2), st.floats(0, 2))
def test_a_row_holds_exactly_if_every_bound_does(mean, p99):
    bounds = (most("ratio_mean", 1.0), most("ratio_p99", 0.5), least("goodput", 0.9))
    made = row(ratio_mean=mean, ratio_p99=p99, figures={"goodput": 0.95}, target=bounds)
    assert holds(made) == (mean <= 1.0 and p99 <= 0.5)
    assert {b.column for b in made.missed} == {
        *(("ratio_mean",) if mean > 1.0 else ()),
        *(("ratio_p99",) if p99 > 0.5 else ()),
    }


def test_a_bound_on_what_was_not_measured_does_not_hold():
    assert holds(row(target=(most("goodput", 1.0),))) is False
    assert holds(row(ratio_mean=None)) is False
    assert not Bound("x", most=1.0).holds({"x": float("nan")})


def test_a_row_without_a_target_has_no_verdict():
    assert holds(row(target=())) is None
    assert "met" not in text([row(target=())])


def test_the_table_says_which_bound_was_missed():
    shown = text([row(), row(ratio_mean=0.6)])
    assert shown.splitlines()[1].endswith("met")
    assert shown.splitlines()[2].endswith("MISSED ratio_mean <= 0.5")


def test_shares_are_compared_with_the_clairvoyants():
    trials = {
        "adaptive": [tried(1.0, share_slow=0.2)],
        "clairvoyant": [tried(1.0, share_slow=0.25)],
    }
    made = summed_up("s", "adaptive", trials, (most("error_share_slow", 0.2),))
    assert made.figures["error_share_slow"] == pytest.approx(0.2)
    assert isinstance(made, Row)


def test_an_interval_is_students():
    """Of 1, 2, 3: the standard error is 1 / sqrt 3, the 95 % point of two degrees 4.303."""
    assert half_width([1.0, 2.0, 3.0], (12.706, 4.303)) == pytest.approx(4.303 / 3**0.5)
    assert half_width([1.0], (12.706,)) is None


def test_every_scenario_names_contenders_that_there_are():
    found = scenarios()
    assert len({one.name for one in found}) == len(found)
    for one in found:
        assert set(one.contenders) <= set(CONTENDERS)
        assert one.judged in one.contenders
        assert one.target


@pytest.mark.parametrize("one", scenarios(), ids=lambda one: one.name)
def test_a_scenario_asks_models_that_its_instances_hold(one):
    jobs = one.jobs(1)
    assert {job.model for job in jobs} <= {model.name for model in one.layout.models}
    assert (
        jobs == sorted(jobs, key=lambda j: j.arrival_s)
        or any(j.follows for j in jobs)
        or ({job.tenant for job in jobs} == {"heavy", "light"})
    )


def test_several_models_are_asked_for_by_their_shares():
    one = next(one for one in scenarios() if one.name == "3 models 0.5")
    jobs = one.jobs(1)
    assert len(jobs) == 4000
    for model, share in MODELS.items():
        assert sum(job.model == model for job in jobs) / 4000 == pytest.approx(share, abs=0.02)


def test_a_trial_is_the_same_again():
    one = next(one for one in scenarios() if one.name == "Poisson 0.8")
    short = replace(one, jobs=lambda seed: one.jobs(seed)[:150])
    assert trial(short, "adaptive", 1) == trial(short, "adaptive", 1)
    assert trial(short, "least_conn", 1).mean_s > trial(short, "clairvoyant", 1).mean_s
