"""What `fleet sync` prints of its plan."""

import json

from click.testing import CliRunner

from ollama_fleet.cli.commands import sync
from ollama_fleet.cli.commands.sync import describe

STEP = {"model": "m", "target": "/b", "source": "/a", "how": "link", "size_bytes": 0}
NOTHING = {"steps": [], "removals": {}, "conflicts": [], "problems": [], "damaged": {}}


def test_a_step_is_a_row_and_an_unknown_size_a_question_mark():
    steps = [STEP, {**STEP, "target": "/c", "source": "", "how": "download", "size_bytes": None}]
    assert describe({**NOTHING, "steps": steps}).splitlines() == [
        "MODEL  TO  HOW       FROM          SIZE",
        "m      /b  link      /a             0 B",
        "m      /c  download  its registry     ?",
    ]


def test_conflicts_problems_and_removals_are_said_below():
    plan = {
        "steps": [STEP],
        "removals": {"/b": ["old:1b", "x"]},
        "conflicts": ["m is 1, but /b has 2"],
        "problems": ["the disk of /c is full"],
        "damaged": {"/c": ["sha256:0123456789abcdef"]},
    }
    assert describe(plan).splitlines()[2:] == [
        "conflict: m is 1, but /b has 2",
        "problem: the disk of /c is full",
        "remove from /b: old:1b, x",
        "damaged in /c: 0123456789ab",
    ]


def test_where_nothing_is_to_do_it_says_so():
    assert describe(NOTHING) == "every store has them all"


class Control:
    """A fleet with a plan of nothing, and these records of a verification."""

    def __init__(self, records):
        self.records = records

    def verify_sync(self, _models, **_):
        yield from self.records

    def plan_sync(self, _models, **_):
        return NOTHING

    def sync(self, _models, **_):
        return iter(())


def test_what_is_told_of_a_verification_is_about_the_model_whose_blob_it_is(monkeypatch):
    bar = {"status": "checking a", "model": "m:latest", "target": "a", "completed": 0, "total": 1}
    last = {"status": "success", "damaged": {}, "errors": []}
    monkeypatch.setattr(sync, "running", lambda: Control([bar, last]))
    done = CliRunner().invoke(sync.command, ["--verify"], standalone_mode=False)
    assert [json.loads(line) for line in done.stdout.splitlines()] == [{"schema_version": 1, **bar}]
