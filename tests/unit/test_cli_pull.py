"""What `fleet pull --all` prints at its end."""

import json
from io import StringIO

import click
import pytest
from click.testing import CliRunner
from rich.console import Console

from ollama_fleet.cli.bars import bars
from ollama_fleet.cli.commands import pull
from ollama_fleet.errors import Exit

OLD, NEW = "1" * 64, "2" * 64
OUTCOMES = [
    {"model": "a:latest", "outcome": "unchanged"},
    {"model": "b:latest", "outcome": "updated", "was": [OLD], "now": [NEW]},
    {"model": "mine:latest", "outcome": "skipped", "error": "not from a registry"},
    {"model": "c:latest", "outcome": "failed", "error": "no room"},
]


def test_each_model_is_a_row_and_a_new_one_shows_its_digests():
    lines = click.unstyle(pull.describe(OUTCOMES)).splitlines()
    assert lines == [
        "MODEL        OUTCOME    WAS           NOW",
        "a:latest     unchanged  -             -",
        "b:latest     updated    111111111111  222222222222",
        "mine:latest  skipped    -             -",
        "c:latest     failed     -             -",
        "mine:latest: not from a registry",
        "1 unchanged, 1 updated, 1 skipped, 1 failed",
    ]


def test_a_fleet_without_models_says_so():
    assert pull.describe([]) == "there are no models to pull"


class Control:
    prunable_bytes = 0

    def __init__(self, records):
        self.records, self.asked = records, None

    def models(self, begins):
        assert list(begins) == ["/"]
        return {"models": [], "stores": [{"prunable_bytes": self.prunable_bytes}] * 2}

    def refresh(self, *, insecure, to):
        self.asked = insecure, list(to)
        yield from self.records


def pulled(monkeypatch, *records, arguments=("--all",)):
    control = Control(records)
    monkeypatch.setattr(pull, "running", lambda: control)
    done = CliRunner().invoke(pull.command, [*arguments, "-q"], standalone_mode=False)
    return control, done


@pytest.mark.parametrize(
    ("outcomes", "code"), [(OUTCOMES[:3], Exit.OK), (OUTCOMES, Exit.FAILED), ([], Exit.OK)]
)
def test_the_exit_code_is_1_exactly_if_one_failed(monkeypatch, outcomes, code):
    _, done = pulled(monkeypatch, *outcomes, {"status": "success"})
    assert done.return_value == code


@pytest.mark.parametrize("last", [{"error": "no instance is called z"}, None])
def test_a_pull_that_does_not_come_to_its_end_has_failed(monkeypatch, last):
    _, done = pulled(monkeypatch, OUTCOMES[0], *([last] if last else []))
    assert done.return_value == Exit.FAILED
    assert (last["error"] if last else "ended before") in done.stderr


def test_for_machines_each_line_is_about_a_model(monkeypatch):
    control = Control([*OUTCOMES[:2], {"status": "success"}])
    monkeypatch.setattr(pull, "running", lambda: control)
    done = CliRunner().invoke(pull.command, ["--all", "-o", "json"], standalone_mode=False)
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["model"] for line in told] == ["a:latest", "b:latest"]


def test_only_for_those_that_are_named(monkeypatch):
    control, _ = pulled(
        monkeypatch, {"status": "success"}, arguments=("--all", "--to", "a,g", "--insecure")
    )
    assert control.asked == (True, ["a", "g"])


def test_figures_that_are_none_draw_a_bar_that_is_empty():
    """As an instance elsewhere may tell them."""
    out = StringIO()
    layer = {"digest": "sha256:0123456789abcdef", "total": 10, "target": "far"}
    with bars(Console(file=out, width=100, force_terminal=True)) as report:
        for odd in ("4", None, [], {"a": 1}):
            report("m", {**layer, "completed": odd})
    assert "0/10 bytes" in click.unstyle(out.getvalue())


@pytest.mark.parametrize("arguments", [(), ("--all", "m")])
def test_either_models_or_all_of_them(monkeypatch, arguments):
    _, done = pulled(monkeypatch, arguments=arguments)
    assert isinstance(done.exception, click.UsageError)


@pytest.mark.parametrize(("prunable_bytes", "lines"), [(0, 0), (2**30, 1)])
def test_what_can_be_pruned_is_a_line_at_the_end_where_there_is_much_of_it(
    monkeypatch, prunable_bytes, lines
):
    control = Control([*OUTCOMES[:2], {"status": "success"}])
    control.prunable_bytes = prunable_bytes
    monkeypatch.setattr(pull, "running", lambda: control)
    done = CliRunner().invoke(pull.command, ["--all"], standalone_mode=False)
    assert done.return_value == Exit.OK
    told = "the stores have 2.0 GiB that no model needs: `fleet prune` removes it"
    assert done.stderr.splitlines() == [told] * lines
