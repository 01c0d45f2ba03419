"""docs/reliability.md: each goal stands there once, with tests and commands that there are."""

import re
from pathlib import Path

import pytest

from ollama_fleet.bench.chaos.report import Aftermath, report
from ollama_fleet.bench.chaos.schedule import Fault

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reliability.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if re.match(r"\| [FBL]\d+ \|", line)
]
GOALS = [
    *(f"F{number}" for number in range(1, 24)),
    *(f"B{number}" for number in range(1, 14)),
    *(f"L{number}" for number in range(1, 5)),
]


def test_each_goal_has_one_row():
    assert [row[0] for row in ROWS] == GOALS


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_row_says_what_was_reached_and_names_tests_and_commands_that_there_are(row):
    _, criterion, reached, shown = row
    assert criterion
    assert reached
    named = re.findall(r"`([^`]+)`", shown)
    assert named
    for name in named:
        words = [word for word in name.split() if not re.match(r"[A-Z_]+=", word)]
        path, _, test = " ".join(words).removeprefix("pytest ").partition("::")
        if path.startswith("tests/"):
            assert f"def {test}" in (ROOT / path).read_text()
        else:
            script, command = path.split()[:2]
            assert command in (ROOT / script).read_text() + _commands(script)


def _commands(script: str) -> str:
    """The sources that give a script its commands."""
    found = {"scripts/soak": "soak.py", "scripts/bench": "commands.py"}
    return (ROOT / "ollama_fleet" / "bench" / found[script]).read_text()


def test_each_fault_and_each_figure_of_chaos_is_explained():
    calm = Aftermath(0.0, (), 0, 0, 0, None, None, 0.0)
    figures = report((), calm, seed=1, seconds=1.0, faults={}, missed={}, skipped={}).document()
    told = {"lost", "doubled", "truncated_as_success", "altered"} | set(Aftermath.__slots__)
    assert told <= set(figures)
    for name in {fault.value for fault in Fault} | told:
        assert re.search(rf"\b{name}\b", PAGE), name
