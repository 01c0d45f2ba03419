"""When fleet.yaml is not read again at all."""

import asyncio
from types import SimpleNamespace

import pytest
from fleet_fixtures import fleet

from ollama_fleet.errors import FleetError
from ollama_fleet.fleet.reloading import Reloading


@pytest.mark.parametrize(("stopping", "started"), [(True, True), (False, False)])
def test_a_fleet_that_is_stopping_or_still_starting_takes_no_other_file(stopping, started):
    """Whoever joined then would be stopped, or started, by nobody."""
    state, told, read = fleet("a"), [], []
    state.stopping = stopping
    plan = SimpleNamespace(claims=SimpleNamespace(keep=list), config=None)
    source = SimpleNamespace(plan=lambda *_: read.append("file"))
    reloading = Reloading(
        plan, state, SimpleNamespace(started=started), source=source, take=told.append,
        told=told.append,
    )  # fmt: skip
    with pytest.raises(FleetError, match=r"stopping|starting"):
        asyncio.run(reloading.reload())
    assert (told, read) == ([False], [])
