"""Strategies from other distributions: found by entry point, on a distribution made here."""

import random
import sys

import pytest
from fleet_fixtures import asks, fleet

from ollama_fleet.config.strategies import read_strategy
from ollama_fleet.errors import FleetError
from ollama_fleet.estimate import Estimates
from ollama_fleet.fleet.strategies import make_strategy
from ollama_fleet.router.plan import plan
from ollama_fleet.router.queue import Waiter
from ollama_fleet.router.strategies import Tools

MODULE = '''
from ollama_fleet.router.policy import Strategy


def by_name(tools):
    """The instance whose name comes first in the alphabet."""

    def score(request, instance, view, now_s, ahead):
        return (float(ord(instance.name[0])),)

    return Strategy("by_name", score, ())


def wrong(tools):
    return tools
'''
POINTS = """[ollama_fleet.strategies]
by_name = brought_along:by_name
wrong = brought_along:wrong
missing = brought_along:missing
"""


@pytest.fixture
def distribution(tmp_path, monkeypatch):
    """A distribution on sys.path, as pip would have installed it."""
    info = tmp_path / "brought_along-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: brought-along\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(POINTS)
    (tmp_path / "brought_along.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("brought_along", None)


def tools():
    return Tools(Estimates(), random.Random(1))


@pytest.mark.usefixtures("distribution")
def test_a_distribution_may_bring_a_strategy_that_chooses_like_ours():
    assert read_strategy("by_name") == "by_name"
    chooses = make_strategy("by_name", tools())
    state = fleet("b", "a", "c")
    (choice,) = plan([Waiter(1, asks())], state, chooses, random.Random(1), 0.0)
    assert choice.instance.name == "a"


@pytest.mark.usefixtures("distribution")
@pytest.mark.parametrize(
    ("name", "reason"), [("wrong", "not a Strategy"), ("missing", "cannot be loaded")]
)
def test_what_is_no_strategy_is_refused_with_its_cause(name, reason):
    with pytest.raises(FleetError, match=reason):
        make_strategy(name, tools())


def test_without_it_the_name_is_refused():
    with pytest.raises(ValueError, match="Input should be"):
        read_strategy("by_name")
    with pytest.raises(FleetError, match="no strategy"):
        make_strategy("by_name", tools())
