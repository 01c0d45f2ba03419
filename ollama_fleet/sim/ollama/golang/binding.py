"""Request bodies into fields, as Go's decoder fills a struct: folded keys, last one wins, nulls.

A struct is described by a `Struct`; the result is a dict that has the keys it knows and the body
gave. A value of the wrong kind is an error with Go's text, the first one in the body's order.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ollama_fleet.sim.ollama.golang.json import Pairs


@dataclass(frozen=True, slots=True)
class Struct:
    """A Go struct: its name with package, and the types of its fields.

    A type is one of the names in `_KINDS`, a one-element list for a slice, or another Struct.
    """

    go_name: str
    fields: Mapping[str, Any]
    in_slice: str = ""  # the name when a slice of it was wanted, where Go has two

    @property
    def short_name(self) -> str:
        """The name as error texts about its fields have it."""
        return self.go_name.rpartition(".")[2]


class BindingError(Exception):
    """A field has a value of another kind than Go wants; the text is Go's."""


_KINDS = {
    "string": "string",
    "bool": "bool",
    "int": "int",
    "float": "float64",
    "map": "map[string]interface {}",
    "image": "api.ImageData",
    "any": "",
}


def bind(value: Any, struct: Struct) -> dict[str, Any]:
    """The fields of a body. Raises BindingError."""
    if value is None:
        return {}
    if not isinstance(value, Pairs):
        raise BindingError(
            f"json: cannot unmarshal {_json_kind(value)} into Go value of type {struct.go_name}"
        )
    return _Binder(struct).fields(value, struct, "")


class _Binder:
    """One body's pass; remembers the outermost struct for the error texts."""

    def __init__(self, root: Struct) -> None:
        self._root = root

    def fields(self, pairs: Pairs, struct: Struct, path: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            name = key if key in struct.fields else key.lower()
            if name in struct.fields and value is not None:
                found[name] = self.value(value, struct.fields[name], f"{path}{name}")
        return found

    def value(self, value: Any, wanted: Any, path: str) -> Any:
        if isinstance(wanted, Struct):
            if not isinstance(value, Pairs):
                raise self._mismatch(value, path, wanted)
            return self.fields(value, wanted, f"{path}.")
        if isinstance(wanted, list):
            if not _is_array(value):
                raise self._mismatch(value, path, wanted)
            return [self.value(item, wanted[0], path) for item in value if item is not None]
        if not _fits(value, wanted):
            raise self._mismatch(value, path, wanted)
        return plain(value)

    def _mismatch(self, value: Any, path: str, wanted: Any) -> BindingError:
        kind = _json_kind(value)
        if kind == "number" and wanted == "int" and isinstance(value, float):
            kind = f"number {value:g}"
        return BindingError(
            f"json: cannot unmarshal {kind} into Go struct field "
            f"{self._root.short_name}.{path} of type {_go_type(wanted)}"
        )


def plain(value: Any) -> Any:
    """The same value with ordinary dicts, the last of equal keys kept."""
    if isinstance(value, Pairs):
        return {key: plain(item) for key, item in value}
    return [plain(item) for item in value] if isinstance(value, list) else value


def _is_array(value: Any) -> bool:
    return isinstance(value, list) and not isinstance(value, Pairs)


def _fits(value: Any, wanted: str) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return {
        "string": isinstance(value, str),
        "image": isinstance(value, str),
        "bool": isinstance(value, bool),
        "int": number and isinstance(value, int),
        "float": number,
        "map": isinstance(value, Pairs),
        "any": True,
    }[wanted]


def _json_kind(value: Any) -> str:
    if isinstance(value, Pairs):
        return "object"
    return {str: "string", bool: "bool", list: "array"}.get(type(value), "number")


def _go_type(wanted: Any) -> str:
    if isinstance(wanted, list):
        item = wanted[0]
        return f"[]{item.in_slice if isinstance(item, Struct) else _go_type(item)}"
    return wanted.go_name if isinstance(wanted, Struct) else _KINDS[wanted]
