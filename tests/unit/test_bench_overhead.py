"""The bench of what watching costs compares like with like, and tells who is over the limit."""

import pytest

from ollama_fleet.bench.overhead import BARE, LIMIT, WATCHED, chosen, rows, table
from ollama_fleet.bench.relay.figures import Reading


def reading(proxy, cpu_s, *, apart_s=0.0, workload="W1 c=32", stream=False, answers=10_000):
    return Reading(
        workload=workload,
        proxy=proxy,
        connections=32,
        stream=stream,
        window_s=1.0,
        cpu_s=cpu_s + apart_s,
        own_s=cpu_s,
        answers=answers,
        records=1_000_000,
        ttft_ms=(),
        lag_p50_ms=None,
        lag_p99_ms=None,
        memory_kib=0,
        failed=0,
        altered=0,
        reasons=(),
        foreign_cores=0.0,
    )


def test_each_run_is_compared_with_the_one_beside_it():
    """A disturbance that meets both leaves the ratio as it is."""
    pairs = [(1.0, 1.05), (4.0, 4.2), (1.0, 1.05)]
    (row,) = rows([r for a, b in pairs for r in (reading(BARE, a), reading(WATCHED, b))])
    assert (row.bare_s, row.watched_s) == (1.0, 1.05)
    assert row.ratio == row.least == row.most == pytest.approx(1.05)
    assert row.holds


def test_a_stream_is_counted_by_its_chunks_and_a_request_by_itself():
    found = rows(
        [
            reading(BARE, 2.0, answers=5_000),
            reading(WATCHED, 2.0, answers=5_000),
            reading(BARE, 3.0, workload="W3", stream=True),
            reading(WATCHED, 3.0, workload="W3", stream=True),
        ]
    )
    assert [(row.workload, row.per, row.bare_s) for row in found] == [
        ("W1 c=32", "10k requests", 4.0),
        ("W3", "1M chunks", 3.0),
    ]


def test_the_writer_of_the_records_is_told_beside_the_router():
    (row,) = rows([reading(BARE, 1.0), reading(WATCHED, 1.05, apart_s=0.3)])
    assert (row.bare_s, row.watched_s, row.apart_s) == (1.0, 1.05, 0.3)
    assert row.holds


def test_what_costs_more_than_it_may_is_told():
    (row,) = rows([reading(BARE, 1.0), reading(WATCHED, LIMIT + 0.01)])
    assert not row.holds
    assert table([row]).splitlines()[1].endswith("MISSED")


def test_a_quick_run_is_short():
    """Three repetitions of both, with what each takes to begin, within a minute or so."""
    what = chosen(quick=True)
    runs_s = sum(w.ramp_s + w.window_s + 1.0 for w in what.workloads) * len(what.proxies)
    assert runs_s * what.repetitions < 75
    assert len(chosen(quick=False, repetitions=2).workloads) == len(what.workloads)
