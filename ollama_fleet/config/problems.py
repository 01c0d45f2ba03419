"""A mistake in the configuration, and pydantic's findings put in an operator's words."""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic_core import ErrorDetails

from ollama_fleet.config.paths import KeyPath
from ollama_fleet.config.scalars import show_value

MAX_PROBLEMS = 100
_MAX_KNOWN = 100  # comparing is slow
_MAX_LISTED = 15
_KEY = "[key]"  # how pydantic says that the key of a mapping is at fault, not its value


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """A position in a text, counted from 1."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: where (`path`, and `mark` where the path does not tell), why, the way out."""

    path: KeyPath
    reason: str
    hint: str = ""
    on_key: bool = False
    mark: Mark | None = None


def problem_of(error: ErrorDetails, known_keys: Callable[[KeyPath], Sequence[str]]) -> Problem:
    """Translate one of pydantic's errors; `known_keys` lists what may stand in a section."""
    path, value, kind = error["loc"], error["input"], error["type"]
    if kind == "extra_forbidden":
        return _unknown_key(path, known_keys(path[:-1]))
    if kind == "missing":
        return Problem(path, "is required")
    on_key = bool(path) and path[-1] == _KEY
    reason = _reason(error)
    hint = "write one, or remove the key" if value is None else _nearest_choice(error)
    return Problem(path[:-1] if on_key else path, reason, hint, on_key=on_key)


def did_you_mean(word: object, known: Sequence[str]) -> str:
    """Name the known word that comes nearest; all of them where none is near, if they are few."""
    near = difflib.get_close_matches(str(word)[:60].lower(), known[:_MAX_KNOWN], n=1)
    if near:
        return f"did you mean {near[0]}?"
    return f"known: {', '.join(sorted(known))}" if 0 < len(known) <= _MAX_LISTED else ""


def _unknown_key(path: KeyPath, known: Sequence[str]) -> Problem:
    return Problem(path, "unknown key", did_you_mean(path[-1], known), on_key=True)


def _nearest_choice(error: ErrorDetails) -> str:
    word = str(error["input"])[:60].lower()
    near = difflib.get_close_matches(word, _choices(error), n=1)
    return f"did you mean {near[0]}?" if near else ""


def _choices(error: ErrorDetails) -> list[str]:
    expected = str(error.get("ctx", {}).get("expected", ""))
    return re.findall(r"'([^']+)'", expected)


_REASONS: Mapping[str, str] = {
    "bool": "{value} is neither true nor false",
    "int": "{value} is not a whole number",
    "string": "{value} is not text",
    "path": "{value} is not a path",
    "tuple": "{value} is not a list",
    "dict": "{value} is not a section of keys and values",
    "model": "{value} is not a section of keys and values",
}
_BOUNDS: Mapping[str, str] = {
    "greater_than": "{value} is not more than {gt:g}",
    "greater_than_equal": "{value} is less than {ge:g}",
    "less_than_equal": "{value} is more than {le:.15g}",
    "too_short": "a list of at least {min_length} is needed",
}


def _reason(error: ErrorDetails) -> str:
    kind, value = error["type"], error["input"]
    context: dict[str, Any] = error.get("ctx", {})
    if value is None:
        return "has no value"
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        return f"{show_value(value)} is not one of {', '.join(_choices(error))}"
    pattern = _BOUNDS.get(kind) or _REASONS.get(kind.split("_")[0])
    if pattern is None:
        return f"{show_value(value)}: {error['msg']}"
    return pattern.format(value=show_value(value), **context)
