"""docs/strategies.md has a row and a section for every strategy, and for no other."""

import re
from pathlib import Path

from fleet_fixtures import strategy

from ollama_fleet.config import Config
from ollama_fleet.config.strategies import STRATEGIES
from ollama_fleet.router.policy import Binding

MANUAL = (Path(__file__).parents[2] / "docs" / "strategies.md").read_text()
BINDS = {"late": Binding.LATE, "at arrival": Binding.ARRIVAL}


def test_every_strategy_has_its_row_which_says_when_it_binds():
    rows = re.findall(
        r"^\| \[(\w+)\]\(#(\w+)\)[^|]*\| [^|]+ \| ([a-z ]+) \|$", MANUAL, re.MULTILINE
    )
    assert all(name == anchor for name, anchor, _ in rows)
    assert {name: BINDS[told] for name, _, told in rows} == {
        name: strategy(name).binds for name in STRATEGIES
    }


def test_every_strategy_has_a_section():
    sections = set(re.findall(r"^## (\w+)$", MANUAL, re.MULTILINE))
    assert sections >= set(STRATEGIES)
    assert {name for name in sections - set(STRATEGIES) if "_" in name} == set()


def test_the_default_is_said_to_be_the_default():
    assert re.findall(r"\[(\w+)\]\(#\w+\) \(default\)", MANUAL) == [Config().routing.strategy]
