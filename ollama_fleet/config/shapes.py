"""Where lists and sections stand in fleet.yaml, read off its records.

Its JSON Schema says the same, and takes longer to make than all else of reading a configuration.
"""

from collections.abc import Iterator
from enum import Enum
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from ollama_fleet.config.paths import KeyPath
from ollama_fleet.config.records import Config
from ollama_fleet.config.settings import Record


class Shape(Enum):
    """What is not one value."""

    LIST = "list"
    SECTION = "section"


def shapes(path: KeyPath) -> frozenset[Shape]:
    """What may stand at a path but a single value; nothing where it leads nowhere."""
    here = [Config]
    for step in path:
        here = [below for kind in here for below in _below(kind, step)]
    return frozenset(shape for kind in here for shape in _shapes_of(kind))


def _shapes_of(kind: Any) -> Iterator[Shape]:
    if get_origin(kind) is tuple:
        yield Shape.LIST
    elif get_origin(kind) is dict or _is_record(kind):
        yield Shape.SECTION


def _below(kind: Any, step: str | int) -> Iterator[Any]:
    """The kinds of value that may stand a step below one."""
    if isinstance(step, int):
        yield from _kinds(get_args(kind)[0]) if get_origin(kind) is tuple else ()
    elif get_origin(kind) is dict:
        yield from _kinds(get_args(kind)[1])
    elif _is_record(kind):
        fields = {field.alias or name: field for name, field in kind.model_fields.items()}
        yield from _kinds(fields[step].annotation) if step in fields else ()


def _kinds(annotation: Any) -> Iterator[Any]:
    """An annotation taken apart: each kind of a union, without what is annotated."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _kinds(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for each in get_args(annotation):
            yield from _kinds(each)
    else:
        yield annotation


def _is_record(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Record)
