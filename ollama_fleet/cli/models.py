"""What people see of the models of a fleet: a table of models by instances, and conflicts. Pure.

From the document of GET /v1/models (ollama_fleet.state.models.Models).
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any, Final

from ollama_fleet.cli.table import Column, breadth, clean, table

Document = Mapping[str, Any]

_ID_CHARS: Final = 12  # of a digest, as Ollama shows
_COLOURS: Final = {"gpu": "green", "cpu": "yellow", "loading": "cyan", "damaged": "red"}
_NAME, _ID, _SIZE = Column("NAME"), Column("ID"), Column("SIZE", number=True)
_MODIFIED, _WHERE = Column("MODIFIED"), Column("WHERE")
_KINDS: Final = (
    "gpu", "gpu+cpu", "cpu", "memory", "loading", "partial", "damaged", "disk", "remote", "absent",
    "unknown",
)  # fmt: skip
_AGES: Final = (
    (60.0, 1.0, "s"),
    (3600.0, 60.0, "min"),
    (2 * 86400.0, 3600.0, "h"),
    (14 * 86400.0, 86400.0, "days"),
    (60 * 86400.0, 7 * 86400.0, "weeks"),
    (2 * 365 * 86400.0, 30 * 86400.0, "months"),
)  # below so many seconds it is told in units of so many


def show(document: Document, *, now_s: float, width: int | None, wide: bool = False) -> str:
    """The table and what is to be said of it.

    A column per instance; where that does not fit into the `width`, how many there are of each
    state instead, and if need be without the digests and the times. None is a width without end.
    `now_s` is Unix time.
    """
    shapes = (_by_instance(document, now_s, wide=wide), *_summed(document, now_s))
    fitting = (t for t in shapes if width is None or wide or breadth(t) <= width)
    return "\n".join([next(fitting, shapes[-1]), *_remarks(document, wide=wide)])


def kind_of(place: Document | None, model: Document, *, known: bool = True) -> str:
    """What an instance has of a model, in a word; `known`: its store has been read."""
    if place is None:
        return "absent" if known else "unknown"
    presence = place["presence"]
    if presence == "resident":
        return _processor(place["memory_bytes"], place["vram_bytes"])
    if model["remote"]:
        return "remote"
    return "disk" if presence == "on_disk" else str(presence)


def show_size(count: int) -> str:
    """Bytes in decimal units, as `ollama list` has them: `4.7 GB`."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if size >= 10 or unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def show_age(stamp: str, now_s: float) -> str:
    """How long ago an RFC 3339 time was: `3 days ago`; empty if it cannot be read."""
    try:
        age_s = max(0.0, now_s - datetime.fromisoformat(stamp).timestamp())
    except (ValueError, OverflowError):
        return ""
    for below_s, unit_s, unit in _AGES:
        if age_s < below_s:
            return f"{int(age_s / unit_s)} {unit} ago"
    return f"{int(age_s / (365 * 86400.0))} years ago"


def _processor(memory_bytes: int, vram_bytes: int) -> str:
    if not memory_bytes:
        return "memory"
    if not vram_bytes:
        return "cpu"
    return "gpu" if vram_bytes >= memory_bytes else "gpu+cpu"


def _by_instance(document: Document, now_s: float, *, wide: bool) -> str:
    homes = document["instances"]
    of_each = (Column(clean(home["name"]), colours=_COLOURS) for home in homes)
    columns = (_NAME, _ID, _SIZE, _MODIFIED, *of_each)
    rows = [
        (*_base(model, now_s), *(_cell(*at, wide=wide) for at in _places(homes, model)))
        for model in document["models"]
    ]
    return table(columns, rows)


def _summed(document: Document, now_s: float) -> Iterator[str]:
    """With counts instead of instances, and then with fewer of the other columns."""
    columns = (_NAME, _ID, _SIZE, _MODIFIED, _WHERE)
    rows = [
        (*_base(model, now_s), _counts(document["instances"], model))
        for model in document["models"]
    ]
    for left_out in ((), (_ID,), (_ID, _MODIFIED)):
        kept = [at for at, column in enumerate(columns) if column not in left_out]
        yield table([columns[at] for at in kept], [[row[at] for at in kept] for row in rows])


def _base(model: Document, now_s: float) -> tuple[str, ...]:
    return (
        model["name"],
        _short(model["digest"]),
        show_size(model["size_bytes"]) if model["size_bytes"] and not model["remote"] else "",
        show_age(model["modified_at"], now_s),
    )


_At = tuple[Document | None, Document, bool]
"""A place of a model, the model, and whether the instance's store is known."""


def _places(homes: Sequence[Document], model: Document) -> list[_At]:
    places = {place["instance"]: place for place in model["places"]}
    return [(places.get(home["name"]), model, bool(home["known"])) for home in homes]


def _cell(place: Document | None, model: Document, known: bool, *, wide: bool) -> str:
    kind = kind_of(place, model, known=known)
    if place is None:
        return "" if known else "?"
    if kind == "partial":
        return f"part {place['done_ratio']:.0%}"
    if kind == "gpu+cpu":
        return f"gpu {place['vram_bytes'] / place['memory_bytes']:.0%}"
    return f"{kind} {show_size(place['memory_bytes'])}" if wide and place["memory_bytes"] else kind


def _counts(homes: Sequence[Document], model: Document) -> str:
    counts = Counter(kind_of(p, m, known=known) for p, m, known in _places(homes, model))
    kinds = sorted(counts, key=lambda kind: _KINDS.index(kind) if kind in _KINDS else 0)
    return ", ".join(f"{counts[kind]} {kind}" for kind in kinds)


def _remarks(document: Document, *, wide: bool) -> Iterator[str]:
    yield from map(clean, _conflicts(document["models"]))
    yield from map(clean, _troubles(document["models"]))
    if document["left_out"]:
        yield f"and {document['left_out']} more; `fleet list NAME` lists those that begin with it"
    for store in document["stores"]:
        for line in store["unreadable"]:
            yield clean(f"cannot be read: {line}")
    if wide:
        yield from map(clean, _stores(document))


def _conflicts(models: Sequence[Document]) -> Iterator[str]:
    """Names that stand for several models: which is where, and how that is ended."""
    several = [model for model in models if model["conflict"]]
    for name, rows in groupby(several, key=lambda model: str(model["name"]).lower()):
        each = list(rows)
        holders = " but ".join(
            f"{_short(model['digest']) or 'unknown'} on {_names(model['places'])}" for model in each
        )
        stored = (m["places"][0]["instance"] for m in each if m["digest"] and m["modified_at"])
        origin = next(stored, "INSTANCE")
        yield (
            f"conflict: {name} is {holders}: either may answer requests for it; "
            f"`fleet sync --from {origin} {name}` makes all have what {origin} has"
        )


def _troubles(models: Sequence[Document]) -> Iterator[str]:
    for model in models:
        lacks = [place for place in model["places"] if place["damage"]]
        for damage, places in groupby(lacks, key=lambda place: str(place["damage"])):
            name = model["name"]
            yield f"damaged: {name} on {_names(places)}: {damage}; `fleet sync {name}` mends it"
        if model["digest"] and not model["modified_at"] and not model["size_bytes"]:
            yield f"removed: {model['name']} is still in memory of {_names(model['places'])}"


def _stores(document: Document) -> Iterator[str]:
    """Each store, what is free on its disk, and who uses it."""
    facts = {store["path"]: store for store in document["stores"]}
    homes = sorted(document["instances"], key=lambda home: str(home["store"]))
    for path, users in groupby(homes, key=lambda home: str(home["store"])):
        store = facts.get(path, {"free_bytes": None, "partials": 0, "prunable_bytes": 0})
        free, partials = store["free_bytes"], store["partials"]
        told = [f"{show_size(free)} free"] if free is not None else []
        told += [f"{partials} blob{'s' * (partials != 1)} not complete"] if partials else []
        unneeded = show_size(store["prunable_bytes"])
        told += [f"`fleet prune` removes {unneeded}"] if store["prunable_bytes"] else []
        more = f" ({', '.join(told)})" if told else ""
        yield f"store {path}{more}: {', '.join(home['name'] for home in users)}"


def _names(places: Iterable[Document]) -> str:
    return ", ".join(place["instance"] for place in places)


def _short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:_ID_CHARS]
