import argparse
import json
import random

import pytest

from ollama_fleet.bench import arrival
from ollama_fleet.bench.arrival import CASES, Case, Row


def test_a_target_holds_or_not_by_what_was_measured():
    case = Case(16, 0, 50.0)
    assert Row.of(case, [49.0] * 200).holds
    assert not Row.of(case, [51.0] * 200).holds
    row = Row.of(case, [10.0] * 98 + [1000.0] * 2)
    assert (row.mean_us, row.p99_us, row.holds) == (29.8, 1000.0, True)


def test_the_cases_are_those_that_are_promised():
    promised = {(16, 0): 50, (256, 0): 150, (1000, 0): 300, (1000, 64): 5000}
    assert {(c.instances, c.waiters): c.target_us for c in CASES} == promised


@pytest.mark.parametrize("waiters", [0, 5])
def test_every_run_is_a_figure(waiters):
    costs_us = arrival.measure(Case(3, waiters, 50.0), 0.01, random.Random(1))
    assert len(costs_us) == (10 if waiters else 200)
    assert all(cost > 0 for cost in costs_us)


def test_the_report_says_what_was_missed_and_so_does_the_exit_code(monkeypatch, capsys):
    monkeypatch.setattr(arrival, "CASES", (Case(2, 0, 1e9), Case(3, 2, 0.0)))
    for output in ("json", "table"):
        code = arrival.main(argparse.Namespace(quick=True, output=output))
        assert code == 1
    printed = capsys.readouterr().out
    report, table = printed.split("\n}\n")
    rows = json.loads(report + "}")["arrival"]
    assert [row["holds"] for row in rows] == [True, False]
    assert set(rows[0]) == {"instances", "waiters", "mean_us", "p99_us", "target_us", "holds"}
    assert [line.split()[-1] for line in table.splitlines()[1:]] == ["met", "MISSED"]
