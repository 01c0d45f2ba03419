"""Answers made from all instances, as one server would give them.

One of three places that speak Ollama's HTTP: here we answer, in router/relay we pass on, in
ollama.py we call.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from ollama_fleet.state import State

Row = Mapping[str, Any]


def tags(state: State) -> list[Row]:
    """Rows of /api/tags: every model that some live instance has, newest first."""
    rows: dict[str, Row] = {}
    for instance in state.instances.values():
        if instance.healthy:
            for key, model in instance.stored.items():
                rows.setdefault(key, model.row)
    return _latest_first(rows.values(), "modified_at")


def ps(state: State) -> list[Row]:
    """Rows of /api/ps: one for each model, sizes summed over the instances that hold it.

    A name whose weights were replaced has one for the old, too, until nobody has them in memory.
    The expiry shown is the latest and the context length the smallest, since either is what a
    client may count on.
    """
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for instance in state.instances.values():
        if instance.healthy:
            for model in instance.rows:
                at = model.key, model.digest
                rows[at] = _joined(rows[at], model.row) if at in rows else dict(model.row)
    return _latest_first(rows.values(), "expires_at")


def models(rows: Iterable[Row]) -> dict[str, Any]:
    """The document of /v1/models, of rows of /api/tags."""
    data = [
        {
            "id": row.get("name", ""),
            "object": "model",
            "created": int(_seconds(row.get("modified_at"))),
            "owned_by": _owner(str(row.get("name", ""))),
        }
        for row in rows
    ]
    return {"object": "list", "data": data}


def version(state: State) -> str:
    """The lowest version of the live instances; "" if none is live."""
    versions = [i.version for i in state.instances.values() if i.healthy and i.version]
    return min(versions, key=_version_order, default="")


def live(state: State) -> bool:
    """Whether anything could serve a request."""
    return any(i.healthy for i in state.instances.values())


def _latest_first(rows: Iterable[Row], name: str) -> list[Row]:
    """By a time's whole seconds, as Ollama does; within one second as they were."""
    return sorted(rows, key=lambda row: int(_seconds(row.get(name))), reverse=True)


def _joined(row: dict[str, Any], other: Row) -> dict[str, Any]:
    for name in ("size", "size_vram"):
        row[name] = _number(row.get(name)) + _number(other.get(name))
    row["expires_at"] = max(row.get("expires_at"), other.get("expires_at"), key=_seconds)
    lengths = [n for n in (row.get("context_length"), other.get("context_length")) if n]
    if lengths:
        row["context_length"] = min(lengths)
    return row


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def _seconds(stamp: object) -> float:
    """Unix seconds of an RFC 3339 time with up to nanoseconds, as Go writes it; 0 if unreadable."""
    if not isinstance(stamp, str):
        return 0.0
    try:
        return datetime.fromisoformat(_microseconds(stamp)).timestamp()
    except (ValueError, OverflowError):
        return 0.0


def _microseconds(stamp: str) -> str:
    """Python reads at most six digits of a second's fraction."""
    head, dot, rest = stamp.partition(".")
    digits = rest.rstrip("Z").partition("+")[0].partition("-")[0]
    return head + dot + digits[:6] + rest[len(digits) :] if dot else stamp


def _owner(name: str) -> str:
    """The namespace, as Ollama's OpenAI layer says it."""
    path = name.rpartition("/")[0]
    return path.rpartition("/")[2] if path else "library"


def _version_order(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in _parts(text))


def _parts(text: str) -> Iterable[str]:
    return (p for p in text.replace("-", ".").split(".") if p.isdigit())
