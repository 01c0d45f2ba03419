"""Where lists and sections stand: what the records say of it is what their JSON Schema says."""

import pytest

from ollama_fleet.config import Config, json_schema, load, schema
from ollama_fleet.config.shapes import Shape, shapes

SCHEMA = schema()
CALLED = {"array": Shape.LIST, "object": Shape.SECTION}


def resolved(node):
    reference = node.get("$ref", "")
    return SCHEMA["$defs"][reference.rpartition("/")[2]] if reference else node


def places(node, path=()):
    """Every path of the schema with what stands there; an entry of a list, or of any name, once."""
    node = resolved(node)
    yield path, node
    for branch in (node, *node.get("anyOf", ())):
        below = dict(branch.get("properties", {}))
        for step, word in ((0, "items"), ("any", "additionalProperties")):
            below |= {step: branch[word]} if isinstance(branch.get(word), dict) else {}
        for step, each in below.items():
            yield from places(each, (*path, step))


def said(node):
    """The shapes that a node of the schema allows."""
    types = [branch.get("type", ()) for branch in (node, *node.get("anyOf", ()))]
    flat = {t for each in types for t in ((each,) if isinstance(each, str) else each)}
    return {CALLED[t] for t in flat if t in CALLED}


def test_the_records_and_their_schema_agree_on_every_place():
    found = dict(places(SCHEMA))
    assert {path: shapes(path) for path in found} == {path: said(found[path]) for path in found}
    assert len(found) > 100
    assert shapes(("groups",)) == {Shape.LIST}
    assert shapes(("groups", 0, "env")) == {Shape.SECTION}


@pytest.mark.parametrize(
    "path",
    [("nonsense",), ("groups", "gpus"), ("listen", 0), ("models", 0), ("queue", "limit", "x")],
)
def test_a_path_that_leads_nowhere_has_neither(path):
    assert shapes(path) == frozenset()


def test_no_schema_is_made_to_read_a_configuration_with_overrides(monkeypatch, tmp_path):
    """It would take longer than all else of it."""

    def refuse(*_arguments, **_named):
        raise AssertionError("a schema is made")

    monkeypatch.setattr(Config, "model_json_schema", refuse)
    json_schema._cached.cache_clear()
    environ = {"FLEET_GROUPS__0__NAME": "a", "FLEET_GROUPS__0__MODELS": "[b, c]"}
    config = load(None, environ=environ, cwd=tmp_path, overrides={"queue.limit": "5"}).config
    assert config.groups[0].models == ("b", "c")
    assert config.queue.limit == 5
