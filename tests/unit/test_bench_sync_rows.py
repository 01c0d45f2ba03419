"""`scripts/bench sync`: what it prints of its cases, and when it fails."""

import json
from argparse import Namespace

import pytest

from ollama_fleet.bench.sync import command
from ollama_fleet.bench.sync.row import Row, skipped
from ollama_fleet.bench.sync.table import markdown, table
from ollama_fleet.bench.sync.traffic import changes, judged
from ollama_fleet.errors import FleetError


def test_one_case_that_does_not_hold_makes_the_command_fail(monkeypatch, capsys):
    """So does one that breaks off; one that this machine cannot play does not."""

    async def good(_quick):
        return Row("a", "b", "c", holds=True)

    async def bad(_quick):
        return Row("a", "b", "c", holds=False)

    async def broken(_quick):
        raise FleetError("the fleet has ended")

    async def left_out(_quick):
        return skipped("a", "b", "no disk")

    arguments = Namespace(case=[], quick=True, output="json")
    monkeypatch.setattr(command, "CASES", (good, left_out))
    assert command.main(arguments) == 0
    capsys.readouterr()
    monkeypatch.setattr(command, "CASES", (good, bad, left_out, broken))
    assert command.main(arguments) == 1
    rows = json.loads(capsys.readouterr().out)["sync"]
    assert [row["holds"] for row in rows] == [True, False, None, False]
    assert "the fleet has ended" in rows[-1]["found"]


def test_tables_say_of_every_case_what_was_to_be_and_what_was():
    rows = [Row("first", "to be", "was", holds=False), skipped("second", "to be too", "no disk")]
    for text in (table(rows), markdown(rows)):
        words = (
            "first",
            "to be",
            "was",
            "MISSED",
            "second",
            "to be too",
            "no disk",
            "not measured",
        )
        assert [word for word in words if word not in text] == []


def test_a_stretch_is_compared_with_its_neighbours_and_noise_is_how_they_differ():
    """So what rises all the while, as a machine that gets busier, is no change."""
    assert changes([100, 120, 140], [110, 130]) == (0, pytest.approx((0.2 + 1 / 6) / 2))
    assert changes([100, 100, 100], [150, 130])[0] == pytest.approx(0.4)
    assert changes([100, 100], [90]) == (pytest.approx(-0.1), 0)


@pytest.mark.parametrize(
    ("change", "noise", "verdict"),
    [
        (0.05, 0.03, True),
        (-0.2, 0.0, True),
        (0.1, 0.03, False),
        (0.05, 0.2, None),
        (0.4, 0.2, False),
    ],
)
def test_a_change_that_may_be_noise_is_not_judged(change, noise, verdict):
    assert judged(change, noise) is verdict
