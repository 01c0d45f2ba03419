"""Loads, unloads and changes as people and programs are told of them."""

import json
from io import StringIO

import click
import pytest
from rich.console import Console

from ollama_fleet.cli import changes, steps
from ollama_fleet.cli.bars import spinners
from ollama_fleet.cli.options import Options, Output
from ollama_fleet.errors import Exit


def step(instance, what, *, seconds=0.0, cached_ratio=None, error=""):
    return {
        "instance": instance,
        "step": what,
        "seconds": seconds,
        "cached_ratio": cached_ratio,
        "error": error,
    }


@pytest.mark.parametrize(
    ("cached_ratio", "source"),
    [
        (None, ""),
        (0.0, ", from disk"),
        (1.0, ", from memory (the page cache had it)"),
        (0.4, ", 40% of it from memory, the rest from disk"),
    ],
)
def test_a_load_says_how_long_it_took_and_where_it_came_from(cached_ratio, source):
    told = step("gpu0", "loaded", seconds=3.21, cached_ratio=cached_ratio)
    assert steps.describe(told) == f"gpu0: loaded in 3.2 s{source}"


def test_each_instance_has_a_line_and_each_that_failed_is_named_on_stderr(capsys):
    taken = iter(
        [
            step("a", "loading"),
            step("b", "loading"),
            step("b", "failed", error="no\x1b[2J room"),
            step("a", "loaded", seconds=1.0),
            step("c", "resident"),
        ]
    )
    assert steps.follow(Options(), "m", taken) == Exit.FAILED
    out, err = capsys.readouterr()
    assert out.splitlines() == ["a: loaded in 1.0 s", "c: it was in memory already"]
    assert err.splitlines() == ["a: loading", "b: loading", "fleet: b: no room"]


def test_what_the_fleet_did_not_live_to_tell_has_failed(capsys):
    assert steps.follow(Options(), "m", iter([step("a", "loading")])) == Exit.FAILED
    assert "fleet: a: the fleet ended" in capsys.readouterr().err


def test_programs_get_one_document_with_the_end_on_each_instance(capsys):
    taken = [step("a", "unloading"), step("a", "unloaded", seconds=0.5), step("b", "absent")]
    assert steps.follow(Options(output=Output.JSON), "m", iter(taken)) == Exit.OK
    out, err = capsys.readouterr()
    assert json.loads(out) == {"schema_version": 1, "model": "m", "instances": taken[1:]}
    assert err == ""


def test_names_are_given_one_by_one_or_with_commas():
    assert steps.places(["a,b", " c ,", "d"]) == ["a", "b", "c", "d"]


def change(store, error=""):
    return {"store": store, "status": 500 if error else 200, "error": error}


@pytest.mark.parametrize("output", [Output.TABLE, Output.JSON])
def test_a_change_that_failed_in_one_store_has_failed(capsys, output):
    """What was done is told, and each store where it was not."""
    taken = [("removed m", {"model": "m"}, [change("/a"), change("/b", "disk\nfull")])]
    assert changes.report(Options(output=output), taken) == Exit.FAILED
    out, err = capsys.readouterr()
    assert err == "fleet: disk full (store /b)\n"
    if output is Output.JSON:
        (model,) = json.loads(out)["models"]
        assert [c["status"] for c in model["changes"]] == [200, 500]
    else:
        assert out == "removed m\n"


def test_where_nothing_was_done_nothing_is_told(capsys):
    taken = [("removed m", {"model": "m"}, [change("/a", "no")])]
    assert changes.report(Options(), taken) == Exit.FAILED
    assert capsys.readouterr().out == ""
    assert changes.report(Options(quiet=True), [("x", {}, [change("/a")])]) == Exit.OK
    assert capsys.readouterr() == ("", "")


def test_a_terminal_shows_who_is_at_work_until_it_is_done():
    """A line for each that loads; it goes when that has ended."""
    screen = StringIO()
    console = Console(file=screen, force_terminal=True, width=60)
    with click.Context(click.Command("x")), spinners(console) as show:
        show("a", "a: loading")
        show("b", "")
        show("a", "")
    assert "a: loading" in click.unstyle(screen.getvalue())
