"""`fleet events`: a line per event, and nothing in it that a terminal would obey."""

import json
import re

import click
import pytest

from ollama_fleet import cli
from ollama_fleet.cli.commands import events as command
from ollama_fleet.cli.commands.events import kind_names, show
from ollama_fleet.cli.control import Control
from ollama_fleet.errors import Exit
from ollama_fleet.state import Events, Kind, Notice
from ollama_fleet.state.events import encoded

EVENT = {
    "number": 7,
    "unix_s": 1_795_254_032.8,
    "kind": "instance_exited",
    "severity": "warning",
    "text": "was killed by SIGKILL",
    "instance": "gpu0",
    "gpu": "",
    "model": "",
    "request": "",
    "figures": {"pid": 12},
}


def test_a_line_says_when_what_kind_what_it_is_about_and_what():
    line = click.unstyle(show(EVENT))
    when, kind, text = re.split(r"  +", line)
    assert re.fullmatch(r"2026-11-2\d \d\d:\d\d:32", when)
    assert (kind, text) == ("instance_exited", "gpu0: was killed by SIGKILL")


@pytest.mark.parametrize(
    ("about", "text"),
    [
        ({"instance": "gpu0", "model": "m:8b"}, "gpu0 m:8b: t"),
        ({"instance": "", "model": "m:8b"}, "m:8b: t"),
        ({"instance": ""}, "t"),
    ],
)
def test_what_it_is_about_stands_before_its_text(about, text):
    assert click.unstyle(show({**EVENT, "text": "t", **about})).endswith(f"  {text}")


def test_the_colour_is_the_severitys():
    shown = [show({**EVENT, "severity": s}) for s in ("info", "warning", "error")]
    assert len(set(shown)) == 3
    assert len(set(map(click.unstyle, shown))) == 1


def test_a_models_name_cannot_write_on_the_terminal():
    assert "\x1b" not in click.unstyle(
        show({**EVENT, "model": "\x1b[2Jx\n", "text": "\x1b]0;t\x07"})
    )
    assert "\n" not in show({**EVENT, "model": "a\nb"})


def test_every_kind_fits_its_column():
    assert max(map(len, Kind)) <= command._KIND_WIDTH


def test_kinds_are_offered_as_they_are_typed():
    context = click.Context(command.command)
    assert kind_names(context, command.command.params[0], "gpu_") == [
        "gpu_hot",
        "gpu_cool",
        "gpu_lost",
        "gpu_back",
        "gpu_changed",
        "gpu_restored",
    ]


@pytest.fixture
def asked(monkeypatch):
    """What the fleet is asked for; it tells of one event."""
    questions = []

    def answer(_control, wanted):
        questions.append(wanted)
        return [EVENT]

    monkeypatch.setattr(Control, "events", answer)
    return questions


def test_what_is_wanted_is_asked_of_the_fleet(asked, capsys):
    words = ["--kind", "gpu_hot", "--kind", "gpu_cool", "--instance", "a", "--tail", "5"]
    assert cli.run(["events", *words, "--since", "10m"]) == Exit.OK
    (wanted,) = asked
    assert wanted["limit"] == 5
    assert wanted["kind"] == ("gpu_hot", "gpu_cool")
    assert wanted["instance"] == ("a",)
    assert wanted["since"] > 1.7e9
    assert "gpu0: was killed" in capsys.readouterr().out


def test_json_is_a_line_per_event_with_the_version_of_its_shape(asked, capsys):
    assert cli.run(["events", "-o", "json"]) == Exit.OK
    assert json.loads(capsys.readouterr().out) == {"schema_version": 1, **EVENT}
    assert asked[0]["since"] == 0
    assert cli.run(["events", "-q"]) == Exit.OK
    assert capsys.readouterr().out == ""


def test_where_no_fleet_runs_what_the_last_one_has_kept_is_chosen_from_as_it_would(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("FLEET_STATE_DIR", str(tmp_path))
    assert cli.run(["events"]) == Exit.NOT_RUNNING
    events = Events()
    for at, kind in enumerate((Kind.GPU_HOT, Kind.GPU_COOL, Kind.GPU_HOT, Kind.GPU_HOT)):
        events.note(Notice(kind=kind, text=f"t{at}", instance="ab"[at % 2]), 100.0 + at)
    (tmp_path / "events.jsonl").write_bytes(encoded(events.after()) + b'{"cut')
    capsys.readouterr()

    def numbers(*words):
        assert cli.run(["events", "-o", "json", *words]) == Exit.OK
        told = capsys.readouterr()
        assert "no fleet is running" in told.err
        return [json.loads(line)["number"] for line in told.out.splitlines()]

    assert numbers() == [1, 2, 3, 4]
    assert numbers("--tail", "2") == [3, 4]
    assert numbers("--tail", "0") == []
    assert numbers("--kind", "gpu_hot", "--tail", "2") == [3, 4]
    assert numbers("--instance", "b") == [2, 4]
    assert numbers("--since", "1h") == []
    assert cli.run(["events", "-f"]) == Exit.NOT_RUNNING
