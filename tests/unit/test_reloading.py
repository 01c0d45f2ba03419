"""When fleet.yaml is not read again at all."""

import asyncio
from types import SimpleNamespace

import pytest
from fleet_fixtures import fleet

from ollama_fleet.errors import FleetError
from ollama_fleet.fleet.reloading import Reloading


def test_a_fleet_that_is_stopping_takes_no_other_file():
    """Whoever joined then would be stopped by nobody."""
    state, told, read = fleet("a"), [], []
    state.stopping = True
    plan = SimpleNamespace(claims=SimpleNamespace(keep=list), config=None)
    source = SimpleNamespace(plan=lambda *_: read.append("file"))
    reloading = Reloading(plan, state, None, source=source, take=told.append, told=told.append)
    with pytest.raises(FleetError, match="stopping"):
        asyncio.run(reloading.reload())
    assert (told, read) == ([False], [])
