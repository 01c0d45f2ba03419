"""What people see of one model: the sections that `ollama show` has, and where it is. Pure."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from ollama_fleet.cli.models import kind_of
from ollama_fleet.cli.table import clean
from ollama_fleet.units import show_bytes

Document = Mapping[str, Any]
Rows = Sequence[Sequence[str]]

_MARGIN, _GAP = "  ", "    "
_HEAD_LINES: Final = 2  # of long texts
_LIST_ITEMS: Final = 3  # of long lists
_ID_CHARS: Final = 12  # of a digest


def describe(
    answer: Document,
    models: Sequence[Document],
    instance: str,
    *,
    footprints: Sequence[Document] = (),
    verbose: bool = False,
) -> str:
    """An answer of an instance to /api/show, and the models of that name in the list of models.

    `footprints` say what it takes of memory; `verbose` adds the metadata and the tensors.
    """
    info = _mapping(answer.get("model_info"))
    sections = {
        "Model": _model(answer, info),
        "Capabilities": [[str(name)] for name in _sequence(answer.get("capabilities"))],
        "Projector": _projector(_mapping(answer.get("projector_info"))),
        "Parameters": [line.split(None, 1) for line in _lines(answer.get("parameters"))],
        "Metadata": [[key, _value(info[key])] for key in sorted(info)] if verbose else [],
        "Tensors": list(_tensors(answer)) if verbose else [],
        "System": _head(answer.get("system")),
        "License": _head(answer.get("license")),
        "Where": list(_where(models, instance)),
        "Memory": [_footprint(each) for each in footprints],
    }
    return "\n\n".join(_section(title, rows) for title, rows in sections.items() if rows)


def _section(title: str, rows: Rows) -> str:
    cleaned = [[clean(cell) for cell in row] for row in rows]
    first = max(len(row[0]) if len(row) > 1 else 0 for row in cleaned)
    lines = (_GAP.join([row[0].ljust(first), *row[1:]]).rstrip() for row in cleaned)
    return "\n".join([_MARGIN + title, *(_MARGIN + _GAP[:2] + line for line in lines)])


def _model(answer: Document, info: Document) -> list[list[str]]:
    details = _mapping(answer.get("details"))
    family = _text(info.get("general.architecture")) or _text(details.get("family"))
    size = _text(details.get("parameter_size")) or _count(info.get("general.parameter_count"))
    rows = {
        "remote model": _text(answer.get("remote_model")),
        "remote URL": _text(answer.get("remote_host")),
        "architecture": family,
        "parameters": size,
        "context length": _text(info.get(f"{family}.context_length")),
        "embedding length": _text(info.get(f"{family}.embedding_length")),
        "quantization": _text(details.get("quantization_level")),
        "requires": _text(answer.get("requires")),
    }
    return [[name, value] for name, value in rows.items() if value]


def _projector(info: Document) -> list[list[str]]:
    family = _text(info.get("general.architecture"))
    rows = {
        "architecture": family,
        "parameters": _count(info.get("general.parameter_count")),
        "embedding length": _text(info.get(f"{family}.vision.embedding_length")),
        "dimensions": _text(info.get(f"{family}.vision.projection_dim")),
    }
    return [[name, value] for name, value in rows.items() if value]


def _tensors(answer: Document) -> Iterator[list[str]]:
    for tensor in map(_mapping, _sequence(answer.get("tensors"))):
        shape = " x ".join(map(str, _sequence(tensor.get("shape"))))
        yield [_text(tensor.get("name")), _text(tensor.get("type")), shape]


def _where(models: Sequence[Document], instance: str) -> Iterator[list[str]]:
    """A row per instance; where there are several models of the name, with which one it is."""
    for model in models:
        shown = any(place["instance"] == instance for place in model["places"])
        which = [model["digest"][:_ID_CHARS], "shown here" if shown else "another model"]
        for place in model["places"]:
            row = [place["instance"], kind_of(place, model)]
            yield [*row, *which] if model["conflict"] else row


def _footprint(found: Document) -> list[str]:
    """What it takes on an instance: of it what `/api/ps` counts."""
    settings = f"{found['slots']} x {found['context_length']} tokens in {found['cache_type']}"
    measured = found["measured_bytes"]
    return [
        found["instance"],
        f"{show_bytes(found['computed_bytes'])} computed",
        f"{show_bytes(measured)} measured" if measured else "not measured",
        settings,
    ]


def _head(text: object) -> list[list[str]]:
    lines = list(_lines(text))
    more = [["..."]] if len(lines) > _HEAD_LINES else []
    return [*([line] for line in lines[:_HEAD_LINES]), *more]


def _lines(text: object) -> Iterable[str]:
    return (line.strip() for line in _text(text).splitlines() if line.strip())


def _value(value: object) -> str:
    items = _sequence(value)
    if not items:
        return _text(value)
    shown = ", ".join(map(str, items[:_LIST_ITEMS]))
    return f"[{shown}, +{len(items) - _LIST_ITEMS} more]" if items[_LIST_ITEMS:] else f"[{shown}]"


def _count(value: object) -> str:
    """A number of parameters as models are called by it: `8.0B`."""
    if not isinstance(value, int | float):
        return ""
    for unit, size in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("K", 1e3)):
        if value >= size:
            return f"{value / size:.1f}{unit}"
    return str(value)


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _mapping(value: object) -> Document:
    return value if isinstance(value, dict) else {}


def _sequence(value: object) -> Sequence[Any]:
    return value if isinstance(value, list) else ()
