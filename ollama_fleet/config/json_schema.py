"""The JSON Schema of fleet.yaml, for editors and for look-ups by path."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import SchemaSerializer, core_schema

from ollama_fleet.config.described import descriptions
from ollama_fleet.config.paths import KeyPath
from ollama_fleet.config.records import Config

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_EXAMPLE: dict[str, Any] = {
    "listen": "127.0.0.1:11434",
    "groups": [
        {"name": "big", "gpus": [0, 1], "models": ["llama3.3:70b"]},
        {"name": "small", "gpus": "auto"},
    ],
    "models": {"qwen3:8b": {"groups": ["small"], "preload": True}},
}


class _AsWritten(GenerateJsonSchema):
    """Without titles that would repeat the keys; defaults as a file would write them.

    Fields are described by the docstrings under them.
    """

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        node, record = super().model_schema(schema), schema["cls"]
        for name, text in descriptions(record).items():
            key = record.model_fields[name].alias or name
            node["properties"][key]["description"] = text
        return node

    def field_title_should_be_set(self, schema: Any) -> bool:
        del schema
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        node = super().default_schema(schema)
        if "default" in node and schema.get("default") is not None:
            writer = SchemaSerializer(schema["schema"])
            node["default"] = writer.to_python(schema["default"], mode="json")
        return node


def schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of fleet.yaml."""
    generated = Config.model_json_schema(by_alias=True, schema_generator=_AsWritten)
    tidy = _without_null_defaults(generated)
    return {"$schema": DIALECT, **tidy, "title": "fleet.yaml", "examples": [_EXAMPLE]}


def known_keys(path: KeyPath) -> Sequence[str]:
    """Keys that may stand in the section at `path`; none where keys are free."""
    return tuple(_at(path).get("properties", {}))


@functools.cache
def _cached() -> Mapping[str, Any]:
    return schema()


def _at(path: KeyPath) -> Mapping[str, Any]:
    """Follow a path down the schema; an empty schema where it leads nowhere."""
    here = _cached()
    for step in path:
        below = here.get("properties", {}).get(step, here.get("additionalProperties"))
        here = _resolved(here.get("items", {}) if isinstance(step, int) else below or {})
    return here


def _resolved(node: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = str(node.get("$ref", ""))
    return _cached()["$defs"][reference.rpartition("/")[2]] if reference else node


def _without_null_defaults(node: Any) -> Any:
    """Drop `default: null`: that a key may be left out goes without saying."""
    if isinstance(node, list):
        return [_without_null_defaults(item) for item in node]
    if not isinstance(node, dict):
        return node
    kept = {key: value for key, value in node.items() if (key, value) != ("default", None)}
    return {key: _without_null_defaults(value) for key, value in kept.items()}
