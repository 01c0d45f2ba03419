"""The soak of many streams, small: a real fleet before the relay bench's backend."""

import argparse
from dataclasses import replace

import pytest

from ollama_fleet.bench import soak, streams


@pytest.fixture(scope="module")
def found():
    """A short run; a longer one where the machine stood still while all of them were there."""
    for seconds in (2.0, 6.0, 18.0):
        report = streams.soak(argparse.Namespace(streams=20, seconds=seconds))
        if report.streams_seen == 20 and report.tokens > 50:
            break
    return report


def test_all_streams_are_there_at_once_and_each_token_comes_once(found):
    assert found.streams_seen == found.streams == 20
    assert (found.failed, found.altered, found.reasons) == (0, 0, ())
    assert found.tokens > 50
    assert found.added_lag_p99_ms < float("inf")


def test_the_fleet_is_looked_at_all_the_while(found):
    assert found.scrapes
    assert not found.scrapes_failed
    assert found.rss_mib > 20
    assert found.rss_slope_mib_per_min is None, "two seconds say nothing of that"
    assert found.loop_lag_p99_ms is not None


@pytest.mark.parametrize(
    "fault",
    [
        {"failed": 1},
        {"altered": 1},
        {"answers": 0},
        {"scrapes_failed": 1},
        {"streams_seen": 19},
        {"added_lag_p99_ms": 10.0},
        {"scrape_max_ms": 50.0},
        {"rss_slope_mib_per_min": 1.0},
    ],
)
def test_each_of_its_figures_can_break_it(found, fault):
    good = {
        "answers": 1,
        "added_lag_p99_ms": 1.0,
        "scrape_max_ms": 1.0,
        "rss_slope_mib_per_min": 0.9,
    }
    whole = replace(found, **good)
    assert whole.holds
    assert not replace(whole, **fault).holds


def test_a_report_shows_each_figure(found):
    shown = streams.table(found)
    assert "streams seen" in shown
    assert "holds" in shown
    assert soak.arguments().parse_args(["streams"]).seconds == 600
