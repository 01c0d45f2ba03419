"""Every model pulled anew: what that changed, and what is no failure."""

import asyncio

import pytest
from fleet_fixtures import fleet

from ollama_fleet.control.library.allowed import allowed
from ollama_fleet.control.library.refresh import refresh
from ollama_fleet.errors import FleetError, OllamaError
from ollama_fleet.names import ModelName, canonical
from ollama_fleet.state import StoredModel


def stored(name, digest):
    return StoredModel(canonical(name), name, digest, 1, {})


class Library:
    """Pulls what has an entry: another digest, or an error. All is noted."""

    def __init__(self, state, outcomes):
        self.state, self.outcomes, self.asked = state, outcomes, []

    async def pull(self, name, insecure, to):
        self.asked.append((name, insecure, tuple(to)))
        yield {"status": "pulling manifest"}
        outcome = self.outcomes.get(name)
        if isinstance(outcome, Exception):
            raise outcome
        if outcome:
            for instance in map(self.state.instances.get, to):
                others = [m for m in instance.stored.values() if m.key != canonical(name)]
                self.state.set_stored(instance, [*others, stored(name, outcome)])
        yield {"status": "success"}


def refreshed(holding, outcomes, **more):
    """What was asked of the library, and the outcomes, of instances that hold these models."""
    state = fleet(*holding, models=())
    for name, models in holding.items():
        rows = [stored(model, digest) for model, digest in models.items()]
        state.set_stored(state.instances[name], rows)
    library = Library(state, outcomes)

    async def run():
        return [record async for record in refresh(state, library.pull, **more)]

    records = asyncio.run(run())
    assert records[-1] == {"status": "success"}
    return library.asked, [r for r in records if "outcome" in r], records


def test_each_model_is_pulled_for_those_that_have_it():
    holding = {"a": {"m": "d1", "n": "d1"}, "b": {"m": "d1"}, "c": {}}
    asked, outcomes, _ = refreshed(holding, {})
    assert asked == [("m", False, ("a", "b")), ("n", False, ("a",))]
    assert outcomes == [
        {"model": "m", "outcome": "unchanged"},
        {"model": "n", "outcome": "unchanged"},
    ]


def test_only_on_those_that_are_named():
    holding = {"a": {"m": "d1", "n": "d1"}, "b": {"m": "d1"}}
    asked, _, _ = refreshed(holding, {}, to=["b"], insecure=True)
    assert asked == [("m", True, ("b",))]


def test_what_is_new_is_told_by_its_digests():
    holding = {"a": {"m": "sha256:d1"}, "b": {"m": "d2"}}
    _, (outcome,), records = refreshed(holding, {"m": "sha256:d3"})
    assert outcome == {"model": "m", "outcome": "updated", "was": ["d1", "d2"], "now": ["d3"]}
    assert {"status": "pulling manifest", "model": "m"} in records


def test_stores_that_differed_and_now_agree_are_updated():
    _, (outcome,), _ = refreshed({"a": {"m": "d1"}, "b": {"m": "d2"}}, {"m": "d2"})
    assert outcome == {"model": "m", "outcome": "updated", "was": ["d1", "d2"], "now": ["d2"]}


def test_one_that_fails_does_not_keep_the_others_from_being_pulled():
    holding = {"a": {"m": "d1", "n": "d1", "o": "d1"}}
    errors = {"m": OllamaError("a: no room", 500), "n": ValueError("no name"), "o": "d2"}
    _, outcomes, _ = refreshed(holding, errors)
    assert outcomes == [
        {"model": "m", "outcome": "failed", "error": "a: no room"},
        {"model": "n", "outcome": "failed", "error": "no name"},
        {"model": "o", "outcome": "updated", "was": ["d1"], "now": ["d2"]},
    ]


def test_what_was_made_here_is_no_failure():
    error = OllamaError("pull model manifest: file does not exist", 500)
    _, (outcome,), _ = refreshed({"a": {"mine": "d1"}}, {"mine": error})
    assert outcome["outcome"] == "skipped"
    assert "not from a registry" in outcome["error"]


def refused(name, *, insecure, allow_insecure=False):
    """What the rule says to such a pull."""
    judge = allowed(["registry.ollama.ai"], insecure=allow_insecure)
    with pytest.raises(OllamaError) as raised:
        judge(ModelName.parse(name), insecure)
    return raised.value


def test_what_may_not_be_pulled_from_there_is_no_failure_but_a_pull_without_tls_is():
    elsewhere = refused("example.org/me/m", insecure=False)
    _, (outcome,), _ = refreshed({"a": {"m": "d1"}}, {"m": elsewhere})
    assert outcome["outcome"] == "skipped"
    assert "example.org" in outcome["error"]
    _, (outcome,), _ = refreshed({"a": {"m": "d1"}}, {"m": refused("m", insecure=True)})
    assert outcome["outcome"] == "failed"


def test_names_that_pass_are_nobodys_models():
    asked, _, _ = refreshed({"a": {"fleet-reload/0123": "d1"}}, {})
    assert asked == []


def test_a_name_of_no_instance_is_refused_before_anything_is_pulled():
    with pytest.raises(FleetError, match="no instance or group is called z"):
        refreshed({"a": {"m": "d1"}}, {}, to=["z"])
