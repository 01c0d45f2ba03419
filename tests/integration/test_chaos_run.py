"""A short run of `scripts/soak chaos`: a fleet under load, broken by a schedule that repeats."""

import pytest

from ollama_fleet.bench.chaos.command import Plan, run


@pytest.mark.timeout(240)  # two starts of a fleet, on a machine that may be busy
def test_each_request_ends_once_whole_or_as_an_error_that_its_client_sees():
    """Times are left to the long run: this machine may be slow."""
    report = run(Plan(seconds=5.0, seed=1, clients=16))
    broken = set(report.broken) - {"loop lag", "in flight"}
    assert not broken, report
    assert report.aftermath.settled_s is not None
    assert report.faults["kill_fleet"] == 1
    assert len(report.faults) > 1, report.faults
    assert report.whole > 0, report
