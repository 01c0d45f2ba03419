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

    A type is one of the names in `_KINDS`, another Struct, or a list for a slice: of its items'
    type, and the name where the slice has one.
    """

    go_name: str
    fields: Mapping[str, Any]
    in_slice: str = ""  # the name when a slice of it was wanted, where it has a decoder of its own

    @property
    def short_name(self) -> str:
        """The name as error texts about its fields have it; one without a name has none."""
        return "" if self.go_name.startswith("struct {") else self.go_name.rpartition(".")[2]


class BindingError(Exception):
    """A field has a value of another kind than Go wants; the text is Go's."""


_KINDS = {
    "string": "string",
    "bool": "bool",
    "int": "int",
    "float": "float64",
    "map": "map[string]interface {}",
    "ordered": "",  # a map that keeps its order, by a package with words of its own
    "image": "api.ImageData",
    "any": "",
}


NO_OBJECT = "Value looks like object, but can't find closing '}' symbol"


def bind(value: Any, struct: Struct) -> dict[str, Any]:
    """The fields of a body. Raises BindingError."""
    if value is None:
        return {}
    if not isinstance(value, Pairs | dict):
        raise BindingError(
            f"json: cannot unmarshal {_json_kind(value)} into Go value of type {struct.go_name}"
        )
    return _fields(value, struct, _Place(struct.short_name, ""))


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in a body a value stands, as error texts say it: a struct, and the path to it."""

    struct: str
    path: str
    closed: bool = False  # in what has a decoder of its own: the structs inside go unnamed

    def field(self, name: str) -> "_Place":
        path = f"{self.path}.{name}" if self.path else name
        return _Place(self.struct, path, self.closed)

    def inside(self, struct: Struct) -> "_Place":
        closed = self.closed or bool(struct.in_slice)
        return _Place(self.struct if closed else struct.short_name, self.path, closed)


def _fields(members: Pairs | dict[str, Any], struct: Struct, place: _Place) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in members.items() if isinstance(members, dict) else members:
        name = key if key in struct.fields else key.lower()
        if name in struct.fields and value is not None:
            found[name] = _value(value, struct.fields[name], place.field(name))
    return found


def _value(value: Any, wanted: Any, place: _Place) -> Any:
    if isinstance(wanted, Struct):
        if not isinstance(value, Pairs | dict):
            raise _mismatch(value, place, wanted)
        return _fields(value, wanted, place.inside(wanted))
    if isinstance(wanted, list):
        if not _is_array(value):
            raise _mismatch(value, place, wanted)
        return [_value(item, wanted[0], place) for item in value if item is not None]
    if not _fits(value, wanted):
        raise BindingError(NO_OBJECT) if wanted == "ordered" else _mismatch(value, place, wanted)
    return plain(value)


def _mismatch(value: Any, place: _Place, wanted: Any) -> BindingError:
    kind = _json_kind(value)
    if kind == "number" and wanted == "int" and isinstance(value, float):
        kind = f"number {value:g}"
    return BindingError(
        f"json: cannot unmarshal {kind} into Go struct field "
        f"{place.struct}.{place.path} of type {_go_type(wanted)}"
    )


def plain(value: Any) -> Any:
    """The same value with ordinary dicts, the last of equal keys kept."""
    if isinstance(value, Pairs | dict):
        members = value.items() if isinstance(value, dict) else value
        return {key: plain(item) for key, item in members}
    return [plain(item) for item in value] if isinstance(value, list) else value


def go_type(value: Any) -> str:
    """The Go type of a value that was decoded into an `any`, as %T prints it."""
    if value is None:
        return "<nil>"
    kinds = {"object": "map[string]interface {}", "array": "[]interface {}", "number": "float64"}
    kind = _json_kind(value)
    return kinds.get(kind, kind)


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
        "map": isinstance(value, Pairs | dict),
        "ordered": isinstance(value, Pairs | dict),
        "any": True,
    }[wanted]


def _json_kind(value: Any) -> str:
    if isinstance(value, Pairs | dict):
        return "object"
    return {str: "string", bool: "bool", list: "array"}.get(type(value), "number")


def _go_type(wanted: Any) -> str:
    if isinstance(wanted, list):
        item, *name = wanted
        if name:
            return str(name[0])
        return f"[]{(isinstance(item, Struct) and item.in_slice) or _go_type(item)}"
    return wanted.go_name if isinstance(wanted, Struct) else _KINDS[wanted]
