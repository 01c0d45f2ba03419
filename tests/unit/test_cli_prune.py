"""What `fleet prune` says, asks and removes."""

import json

import pytest
from click.testing import CliRunner

from ollama_fleet.cli.commands import prune
from ollama_fleet.errors import Exit

GIB = 2**30


def shed(store, *files, **more):
    """A store of a plan in which each file is a blob of a gigabyte."""
    return {
        "store": store,
        "instances": ["a", "b"],
        "files": list(files),
        "blobs": len(files),
        "partials": 0,
        "size_bytes": len(files) * GIB,
        "waiting_bytes": 0,
        "problem": "",
        "error": "",
        **more,
    }


class Control:
    """Plans and does what it was made with."""

    def __init__(self, *sheds, freed_bytes=GIB, done=()):
        self.plan = {"stores": list(sheds), "freed_bytes": freed_bytes}
        self.done = {"stores": list(done) or list(sheds), "freed_bytes": freed_bytes}
        self.asked, self.removed = None, None

    def plan_prune(self, to, *, older_s):
        self.asked = list(to), older_s
        return self.plan

    def prune(self, remove, *, older_s):
        self.removed = remove
        assert older_s == self.asked[1]
        return self.done


@pytest.fixture
def run(monkeypatch):
    def run(control, *arguments):
        monkeypatch.setattr(prune, "running", lambda: control)
        return CliRunner().invoke(prune.command, arguments, standalone_mode=False)

    return run


def test_a_plan_is_a_row_for_each_store_and_says_what_becomes_free():
    plan = {"stores": [shed("/a", "x"), shed("/b", waiting_bytes=GIB)], "freed_bytes": 0}
    assert prune.describe(plan).splitlines() == [
        "STORE  INSTANCES  BLOBS  PARTIALS     SIZE",
        "/a     a, b           1         0  1.0 GiB",
        "/b     a, b           0         0        -",
        "0 B of it becomes free: the rest are links to files that are kept elsewhere",
        "/b: 1.0 GiB of replaced weights are still in memory, and can go when they are not",
    ]


def test_a_dry_run_removes_nothing_and_asks_for_what_was_named(run):
    control = Control(shed("/a", "x"))
    done = run(control, "--dry-run", "--to", "gpu0,/a", "--to", "b", "--older", "90m")
    assert (done.return_value, control.removed) == (Exit.OK, None)
    assert control.asked == (["gpu0", "/a", "b"], 5400.0)


def test_where_nobody_can_answer_nothing_goes_without_yes(run):
    control = Control(shed("/a", "x"))
    done = run(control)
    assert "say --yes" in str(done.exception)
    assert control.removed is None
    assert run(control, "--yes").return_value == Exit.OK
    assert control.removed == {"/a": ["x"]}


def test_nothing_is_asked_where_nothing_can_go(run):
    control = Control(shed("/a"), freed_bytes=0)
    assert run(control).return_value == Exit.OK
    assert control.removed is None


def test_a_store_with_a_problem_is_named_and_the_others_are_pruned(run):
    control = Control(
        shed("/a", "x"), shed("/b", "y", problem="a download"), done=[shed("/a", "x")]
    )
    done = run(control, "--yes")
    assert control.removed == {"/a": ["x"]}
    assert done.return_value == Exit.FAILED
    assert "fleet: /b: a download" in done.stderr
    assert done.stdout.splitlines() == ["removed 1.0 GiB from /a", "1.0 GiB became free"]


def test_what_could_not_be_removed_is_a_failure(run):
    control = Control(shed("/a", "x"), freed_bytes=0, done=[shed("/a", error="not allowed")])
    done = run(control, "--yes")
    assert done.return_value == Exit.FAILED
    assert "fleet: /a: not allowed" in done.stderr


def test_a_program_gets_one_document_of_what_has_gone(run):
    control = Control(shed("/a", "x"), freed_bytes=7)
    told = json.loads(run(control, "--yes", "-o", "json").stdout)
    assert told == {"schema_version": 1, **control.done}
