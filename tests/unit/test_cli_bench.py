"""`fleet bench routing`: which options go together."""

import pytest
from click.testing import CliRunner

from ollama_fleet.bench.processes import pictures
from ollama_fleet.bench.processes.cases import FAMILIES, USUAL
from ollama_fleet.bench.processes.real import at_url
from ollama_fleet.bench.processes.study import QUICK, Scale
from ollama_fleet.cli.commands import fleet
from ollama_fleet.cli.commands.bench import asking, routing
from ollama_fleet.cli.options import Options
from ollama_fleet.errors import FleetError

NOTHING = dict.fromkeys(
    ("url", "ollama", "model", "rate", "store", "requests", "seeds", "time_scale", "quick")
) | {"cpus": (), "load": (), "scenario": (), "strategy": (), "slots": 2, "shorter": 1.0}
REAL = ["--model", "tiny", "--rate", "2"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--url", "http://x", "--ollama", "y", *REAL], "two different fleets"),
        (["--url", "http://x"], "need --model and --rate"),
        (["--url", "http://x", *REAL, "--strategy", "adaptive"], "no --strategy"),
        (["--ollama", "x", *REAL], "needs --store and at least two --cpus"),
        (["--url", "http://x", *REAL, "--load", "0.5"], "take --rate"),
        (["--url", "http://x", *REAL, "--scenario", "killed"], "take --rate"),
        (["--model", "tiny"], "are for --url and --ollama"),
    ],
)
def test_options_that_contradict_one_another_are_refused(arguments, reason):
    done = CliRunner().invoke(fleet, ["bench", "routing", *arguments])
    assert done.exit_code == 2
    assert reason in " ".join(done.stderr.split())


def test_quick_is_smaller_and_each_figure_can_still_be_chosen():
    assert asking.scale(NOTHING) == Scale()
    assert asking.scale(NOTHING | {"quick": True}) == QUICK
    chosen = asking.scale(NOTHING | {"quick": True, "requests": 500, "time_scale": 5.0})
    assert chosen == Scale(requests=500, seeds=1, time_scale=5.0)


def test_every_family_can_be_asked_for():
    """The command line lists them itself, so as not to import them for its help."""
    assert set(routing._FAMILIES) == set(FAMILIES)
    assert set(USUAL) < set(FAMILIES)


def test_a_real_fleet_runs_in_real_time():
    assert asking.scale(NOTHING | {"url": "http://127.0.0.1:1", "time_scale": 9.0}).time_scale == 1


def test_every_scenario_is_run_at_every_load():
    found = asking.sought(NOTHING | {"scenario": ("poisson", "models"), "load": (0.3, 0.6)})
    assert [case.name for case in found.cases] == [
        "Poisson 0.3",
        "Poisson 0.6",
        "3 models 0.3",
        "3 models 0.6",
    ]


def test_real_instances_are_asked_shorter_prompts_for_shorter_answers():
    def tokens(shorter):
        options = {"url": "http://h:1", "model": "tiny", "rate": 2.0, "shorter": shorter}
        (one,) = asking.sought(NOTHING | options).cases
        return [(job.prompt_tokens, job.output_tokens) for job in one.jobs(1, 300)]

    for long, short in zip(tokens(1.0), tokens(8.0), strict=True):
        assert short == tuple(max(4, round(length / 8)) for length in long)


@pytest.mark.parametrize("url", ["x", "https://h:1", "http://", "http://h:99999", "http://[h"])
def test_what_is_no_url_of_a_fleet_is_refused(url):
    with pytest.raises(FleetError, match="is not the URL of a fleet"):
        at_url(url)


@pytest.mark.parametrize(("there", "written"), [(True, True), (False, False)])
def test_what_cannot_be_a_picture_is_drawn(there, written, monkeypatch, tmp_path, capsys):
    """Without matplotlib a study says how to get it, and that the curves come as text."""
    monkeypatch.setattr(pictures, "available", lambda: there)
    monkeypatch.setattr(pictures, "write", lambda _played, _scale, folder: [folder / "a.png"])
    assert routing._pictures(Options(), [], Scale(), tmp_path) is written
    said = capsys.readouterr().err
    assert ("ollama-fleet[plots]" in said) is not there
    assert ("a.png" in said) is there
    assert routing._pictures(Options(), [], Scale(), None) is True
