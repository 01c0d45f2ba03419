"""What runs come to: rows, the agreement with the replay, curves, and how they are drawn."""

import json
import math
from dataclasses import replace

import pytest

from ollama_fleet.bench.processes import curves, drawing, figures, pictures
from ollama_fleet.bench.processes.cases import case
from ollama_fleet.bench.processes.run import Measured
from ollama_fleet.bench.processes.stretches import stretches
from ollama_fleet.bench.processes.study import Played, Scale, replayed, turns
from ollama_fleet.cli.commands.bench import showing
from ollama_fleet.errors import FleetError
from ollama_fleet.replay.job import Fate, Job
from ollama_fleet.replay.run import Outcome

SCALE = Scale(requests=200, seeds=2, time_scale=10.0)


def slower(outcome, factor):
    """The same outcome with every latency so many times as long."""
    return replace(
        outcome,
        fates=[
            Fate(
                f.job,
                f.arrived_s,
                first_s=f.arrived_s + factor * f.ttft_s,
                ended_s=f.arrived_s + factor * f.latency_s,
                instance=f.instance,
            )
            for f in outcome.fates
        ],
    )


def study(*loads, factor=1.0, names=("adaptive", "least_conn")):
    """A study whose processes did what the replay says, only slower."""
    cases = [case("poisson", load) for load in loads]
    return [
        Played(turn, Measured(slower(found, factor), 0.004, 0.1), found)
        for turn in turns(cases, SCALE.seeds, names)
        for found in [replayed(turn, SCALE)]
    ]


@pytest.fixture(scope="module")
def played():
    return study(0.5, 0.8)


@pytest.mark.parametrize(
    ("factor", "agrees"), [(1.0, True), (1.08, True), (0.92, True), (1.2, False), (0.8, False)]
)
def test_a_replay_agrees_if_its_mean_is_within_a_tenth(factor, agrees):
    for standing in figures.standings(study(0.6, factor=factor), SCALE, judge=False):
        assert standing.off == pytest.approx(1 / factor - 1)
        assert standing.agrees is agrees


def test_ratios_are_to_least_conn_on_the_same_requests(played):
    rows = {
        (s.row.scenario, s.row.strategy): s.row
        for s in figures.standings(played, SCALE, judge=True)
    }
    assert set(rows) == {
        (f"Poisson {load}", name) for load in ("0.5", "0.8") for name in ("adaptive", "least_conn")
    }
    for load in ("0.5", "0.8"):
        ours, base = rows[f"Poisson {load}", "adaptive"], rows[f"Poisson {load}", "least_conn"]
        assert ours.ratio_mean == pytest.approx(ours.mean_s / base.mean_s)
        assert base.ratio_mean == 1.0


def test_only_the_judged_row_of_a_known_scenario_has_a_target(played):
    judged = {
        (s.row.scenario, s.row.strategy)
        for s in figures.standings(played, SCALE, judge=True)
        if s.row.target
    }
    assert judged == {("Poisson 0.8", "adaptive")}
    assert not any(s.row.target for s in figures.standings(played, SCALE, judge=False))


def test_the_first_requests_are_not_counted(played):
    one = played[0]
    assert len(figures.counted(one.measured.outcome, SCALE)) == 180
    assert figures.trial(one, SCALE).requests == 180


def test_a_request_that_was_lost_is_counted_wherever_it_was_and_fails_the_row(played):
    one = played[0]
    fates = [*one.measured.outcome.fates]
    fates[0] = Fate(fates[0].job, fates[0].arrived_s, refused="no answer")
    lost = replace(
        one, measured=replace(one.measured, outcome=replace(one.measured.outcome, fates=fates))
    )
    (standing,) = figures.standings([lost], SCALE, judge=False)
    assert standing.row.figures["lost"] == 1
    assert showing.fails(standing)


def test_a_run_that_served_nothing_says_why():
    job = Job(0.0, "m", 8, 4, 0)
    outcome = Outcome([Fate(job, 0.0, refused="status 503")] * 20, 0, ())
    with pytest.raises(FleetError, match="no request was served: status 503"):
        figures.counted(outcome, SCALE)


def test_a_document_is_json_whatever_was_not_measured(played):
    """Of a real fleet there is no bound and no replay: null, never NaN."""
    real = replace(played[0].turn.case, layout=None)
    one = replace(played[0], turn=replace(played[0].turn, case=real), replayed=None)
    found = figures.standings([one], SCALE, judge=False)
    (row,) = json.loads(json.dumps(showing.document(found, SCALE), allow_nan=False))["routing"]
    assert row["distance_to_bound"] is row["replay_mean_s"] is row["replay_agrees"] is None
    assert row["mean_s"] > 0


def test_a_curve_has_a_point_for_each_load_with_the_range_of_the_seeds(played):
    (metrics,) = curves.by_load(played, SCALE).values()
    for found in metrics.values():
        assert set(found) == {"adaptive", "least_conn"}
        for points in found.values():
            assert [p.x for p in points] == pytest.approx([1.56, 2.496])
            assert all(p.least <= p.mean <= p.most for p in points)


def test_one_load_makes_no_curve():
    assert curves.by_load(study(0.8), SCALE) == {}


def made_up(*times):
    """Requests that came, began and ended at these seconds, of 10 tokens each."""
    return [
        Fate(Job(a, "m", 8, 10, 0), a, first_s=first, ended_s=end, instance="x")
        for a, first, end in times
    ]


def test_who_waits_is_who_came_before_and_has_no_token_yet():
    fates = made_up((0, 5, 6), (1, 2, 3), (2, 4, 9), (5, 6, 7))
    assert [n for n, _ in curves._waiting(fates)] == [0, 1, 1, 0]


def test_tokens_are_counted_where_they_were_made():
    """Two answers of ten tokens, while requests came for twenty seconds: all tokens are in it."""
    fates = made_up((0, 1, 5), (4, 5, 19), (20, 21, 30))
    made = stretches(fates, 40)
    assert sum(part.tokens_per_s * 0.5 for part in made) == pytest.approx(20)
    assert sum(part.waiting * 0.5 for part in made) == pytest.approx(2)
    (whole,) = stretches(fates, 1)
    assert (whole.requests_per_s, whole.tokens_per_s) == pytest.approx((2 / 20, 1.0))


def test_requests_that_came_all_at_once_make_no_stretch():
    assert stretches(made_up((0, 1, 5), (0, 5, 19)), 4) == []


def test_classes_of_waiting_requests_lose_none_and_leave_out_the_rare():
    values = [(float(n), 1.0) for n in range(9) for _ in range(20)] + [(300.0, 1.0)] * 3
    found = curves._classes(values)
    assert [len(own) for _, own in found] == [20, 20, 20, 40, 80]
    assert found[-1][0] == pytest.approx(6.5)


def test_shares_of_a_run_are_a_whole(played):
    trial = figures.trial(played[0], SCALE)
    assert math.fsum(curves.shares([trial]).values()) == pytest.approx(1.0)


def test_a_drawing_has_each_strategys_mark_from_the_bottom_to_the_top():
    low, high = curves.Point(1.0, 2.0, 2.0, 2.0), curves.Point(9.0, 50.0, 50.0, 50.0)
    lines = drawing.drawn({"mean": {"a": [low], "b": [high]}}, "load").splitlines()
    assert "mean" in lines[0]
    assert lines[1].startswith("     50 ┤")
    assert lines[1].endswith(" *")
    assert lines[14].split("┤")[1].startswith("o")
    assert lines[-1].split() == ["o", "a", "*", "b"]


def test_pictures_are_written_for_all_there_is(played, tmp_path):
    written = pictures.write(played, SCALE, tmp_path / "plots")
    assert {path.name for path in written} == {
        "overview.png",
        "shares.png",
        "load-poisson.png",
        "waiting-poisson.png",
    }
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written)


def test_too_few_requests_for_a_curve_are_pictures_and_text_all_the_same(tmp_path):
    few = Scale(requests=12, seeds=1)
    turn = turns([case("poisson")], 1, ["adaptive"])[0]
    found = replayed(turn, few)
    played = [Played(turn, Measured(found, 0.0), found)]
    assert len(pictures.write(played, few, tmp_path)) == 3
    rows = figures.standings(played, few, judge=False)
    assert "too few requests" in showing.text(rows, played, few, wide=False)


def test_the_table_tells_of_too_little_and_of_a_busy_machine(played):
    found = figures.standings(played, SCALE, judge=False)
    said = showing.text(found, played, SCALE, wide=True)
    assert "in 4 of 4 rows" in said
    assert "Too few requests or seeds" in said
    assert "cores busy" not in said
    assert "requests that wait" in said
    busy = [replace(p, measured=replace(p.measured, foreign_cores=1.5)) for p in played]
    again = figures.standings(busy, SCALE, judge=False)
    assert "1.5 cores busy" in showing.text(again, (), SCALE, wide=False)


def test_a_study_says_how_long_it_will_take():
    assert showing.announced(15, Scale(), 754.0) == "15 runs of 1,000 requests, about 12 min 34 s"
    assert showing.announced(1, SCALE, 9.0) == "1 runs of 200 requests, about 9 s"
