"""Which tools a simulated model calls, with what arguments, and in what words. Pure.

A model that is given tools calls those that the user's last message names, once each and in the
order of their names in it. Once a tool's answer follows that message, the model talks again.
The arguments come from the tool's JSON schema: its required properties, each with a value of its
type. A call's words are those of models with `<tool_call>` in their template, which Ollama's
parser swallows: clients see the call itself, with the token that closes its object.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ollama_fleet.sim.ollama.text import Answer, Call, tokenise


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool as a request describes it; `parameters` is a JSON schema."""

    name: str
    parameters: Mapping[str, Any]


def named(tools: Sequence[Tool], words: str) -> list[Tool]:
    """The tools whose names stand in a text, in the order in which they come first."""
    by_name = {tool.name: tool for tool in reversed(tools) if tool.name}
    places = {
        name: found.start()
        for name in by_name
        if (found := re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", words))
    }
    return [by_name[name] for name in sorted(places, key=places.__getitem__)]


def arguments(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A value for each property that a schema requires; none where it is not a schema."""
    properties = _mapping(schema.get("properties"))
    names = map(str, _items(schema.get("required")))
    return {name: _value(name, _mapping(properties.get(name))) for name in names}


_PLAIN = {"integer": 1, "number": 1.5, "boolean": True, "null": None}


def _value(name: str, schema: Mapping[str, Any]) -> Any:
    """The first of an `enum`, else a value of the first type; a text is the property's name."""
    match _items(schema.get("anyOf")), _items(schema.get("enum")):
        case [alternative, *_], _:
            return _value(name, _mapping(alternative))
        case _, [choice, *_]:
            return choice
    kinds = schema.get("type")
    kind = next(iter(_items(kinds)), kinds)
    if kind == "object":
        return arguments(schema)
    if kind == "array":
        items = _mapping(schema.get("items"))
        return [_value(name, items)] if items else []
    return _PLAIN.get(str(kind), name)


def _items(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def spoken(name: str, given: Mapping[str, Any]) -> str:
    """A call in the model's words, as it says them and as a prompt repeats them."""
    # A blank comes first: so a prompt that goes on with it is the same tokens, and caches hit.
    compact = json.dumps(given, ensure_ascii=False, separators=(",", ":"))
    return f'\n<tool_call>\n{{"name": "{name}", "arguments": {compact}}}\n</tool_call>'


def calling(calls: Sequence[Call], *, limit: int) -> Answer:
    """The answer that makes these calls; a positive `limit` cuts it off after so many tokens."""
    pieces: list[str] = []
    completed: dict[int, Call] = {}
    for call in calls:
        said = tokenise(spoken(call.name, call.arguments))
        closing = max(index for index, piece in enumerate(said) if "}" in piece)
        completed[len(pieces) + closing] = call
        pieces += said
    tokens = min(limit, len(pieces)) if limit > 0 else len(pieces)
    return Answer(
        seed=0,
        tokens=tokens,
        ends_by_itself=limit <= 0 or limit > len(pieces),
        fixed=tuple(pieces),
        calls={index: call for index, call in completed.items() if index < tokens},
    )
