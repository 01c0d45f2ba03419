"""Lists of any length: what of them enters the state, and how much is told of it."""

import json

import pytest
from fleet_fixtures import fleet

from ollama_fleet.control.events.memory import MOST, changes
from ollama_fleet.errors import OllamaError
from ollama_fleet.ollama.answers import (
    MOST_RESIDENT,
    MOST_STORED,
    resident_models,
    rows_of,
    stored_models,
)
from ollama_fleet.state import Kind

MANY = 10_000


def listed(count):
    return {"models": [{"name": f"m{n}:latest", "digest": f"{n:064d}"} for n in range(count)]}


def test_of_a_store_with_more_models_than_any_the_latest_are_known():
    names = [model.name for model in stored_models(listed(MANY))]
    assert names == [f"m{n}:latest" for n in range(MOST_STORED)]


@pytest.mark.parametrize("count", [3, MOST_STORED, MANY])
def test_a_long_list_is_read_no_further_than_it_counts_and_means_the_same(count):
    answer = listed(count)
    rows = rows_of(json.dumps(answer).encode())
    assert len(rows["models"]) == min(count, MOST_STORED + 1)
    assert stored_models(rows) == stored_models(answer)


@pytest.mark.parametrize(
    "body", [b"[%s]", b'{"models": "%s"}', b'{"models": [%s', b'{"more": "%s"}']
)
def test_what_is_long_and_no_list_is_an_error_of_ollamas(body):
    with pytest.raises(OllamaError):
        stored_models(rows_of(body % (b"1" * 100_000)))


def test_what_no_memory_holds_is_no_list_of_what_is_in_it():
    assert len(resident_models(listed(MOST_RESIDENT))) == MOST_RESIDENT
    with pytest.raises(OllamaError, match="more than 256 models in memory"):
        resident_models(listed(MOST_RESIDENT + 1))


@pytest.mark.parametrize("count", [MOST, MOST + 1, MOST_RESIDENT])
def test_what_comes_and_goes_in_masses_is_told_of_in_few_events_that_count_it(count):
    state = fleet("a")
    instance, rows = state.instances["a"], resident_models(listed(count))
    for kind, before, after in (
        (Kind.MODEL_LOADED, (), rows),
        (Kind.MODEL_UNLOADED, rows, ()),
    ):
        state.set_resident(instance, after)
        told = [notice for notice in changes(instance, before, 0.0) if notice.kind is kind]
        assert len(told) == min(count, MOST + 1)
        named = [notice for notice in told if notice.model]
        assert len(named) + sum(n.figures["models"] for n in told if not n.model) == count
