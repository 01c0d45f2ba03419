"""What a sync is about when little is said of it, and what it may remove."""

import asyncio

import pytest
from fleet_fixtures import fleet

from ollama_fleet.api.admin.syncs import SyncCommands, _Wanted
from ollama_fleet.control.library import SyncPlan
from ollama_fleet.errors import FleetError


class Library:
    """Would remove some models of a store, whatever it is asked."""

    def __init__(self):
        self.asked = []

    async def plan(self, models, *, origin, prune, damaged):
        assert damaged == {}
        self.asked.append((tuple(models), origin))
        return SyncPlan(removals={"/store": ("old:latest", "kept:1b")} if prune else {})


def planned(*, declared=(), **wanted):
    library = Library()
    commands = SyncCommands(fleet("a", models=("m", "n")), library, lambda: declared)
    prune = wanted.get("prune", False)
    plan = asyncio.run(commands._planned(_Wanted(**wanted), prune=prune))
    return plan, library.asked


@pytest.mark.parametrize(
    ("wanted", "meant"),
    [
        ({}, (("x",), "")),
        ({"models": ["y"]}, (("y",), "")),
        ({"origin": "a"}, (("m", "n"), "a")),
        ({"models": ["y"], "origin": "a"}, (("y",), "a")),
    ],
)
def test_unnamed_models_are_those_of_the_origin_or_those_declared(wanted, meant):
    assert planned(declared=["x"], **wanted)[1] == [meant]


@pytest.mark.parametrize("prune", [False, True])
def test_where_no_model_is_declared_or_named_nothing_is_planned_least_of_all_a_removal(prune):
    with pytest.raises(FleetError, match="declares no models"):
        planned(prune=prune)


def test_a_declared_model_is_not_pruned_though_others_are_named():
    plan, _ = planned(declared=["KEPT:1b"], models=["m"], prune=True)
    assert plan.removals == {"/store": ("old:latest",)}
    assert not planned(declared=["kept:1b", "old"], models=["m"], prune=True)[0].removals
