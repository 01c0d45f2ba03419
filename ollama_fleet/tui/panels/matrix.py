"""Which model is where: models by instances, each on disk, on its way into memory, or there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any, Final

from rich.text import Text

from ollama_fleet.state.snapshot import InstanceSnapshot
from ollama_fleet.tui.panels.body import Body
from ollama_fleet.tui.panels.fields import fields
from ollama_fleet.tui.panels.models import in_memory
from ollama_fleet.tui.panels.table import Cell, Column, Row, table
from ollama_fleet.tui.panels.view import View
from ollama_fleet.tui.scene import Scene


@dataclass(frozen=True, slots=True)
class _Words:
    """How a cell says it; what is in memory is told by its requests, of so many at once."""

    on_disk: str
    loading: str
    reloading: str
    in_memory: str
    legend: str


_LONG: Final = _Words("disk", "load", "reload", "{busy}/{slots}", "in memory: requests / slots")
_SHORT: Final = _Words(
    "d", "L", "R", "{busy}", "number: in memory, its requests; L: loading; R: reloading; d: on disk"
)
_NAME_WIDTH: Final = 12  # cells of a model's name, at least
_OUT: Final = "!"  # behind the name of an instance that gets no requests


def matrix(scene: Scene, view: View, room: int | None) -> Body:
    """A line for each model that a store or a memory has, a column for each instance.

    Cells are short where long ones do not fit; instances that do not fit even so are counted.
    """
    instances = scene.snapshot.instances
    names = short_names([view.glyphs.clean(i.name) for i in instances])
    titles = [name + _mark(i) for name, i in zip(names, instances, strict=True)]
    least = sum(max(len("disk"), len(title) + 1) + 1 for title in titles) + _NAME_WIDTH
    words = _LONG if least <= view.width else _SHORT
    most = max(_NAME_WIDTH, view.width - sum(len(title) + 2 for title in titles) - 1)
    columns = (
        Column("MODEL", most=min(40, most)),
        Column("LOADED", len(names) + 2, right=True),
        *(_column(name, n, i) for n, (name, i) in enumerate(zip(names, instances, strict=True))),
    )
    sites = [_Site(i, _hot(i), frozenset(i.stored)) for i in instances]
    things = {model: model for model in _models(sites)}
    empty = "no instance has a model; `fleet pull MODEL` gets one for all of them"
    left = None if room is None else room - 2
    body = table(columns, things, lambda m: _row(m, sites, words, view), view, left, empty=empty)
    hidden = len(names) - sum(title in names for title in body.titles) if body.keys else 0
    legend = (f"{_OUT}: out; " if any(map(_mark, instances)) else "") + words.legend
    more = f"; {hidden} more instances are in a wider terminal" if hidden else ""
    below = [Text(), Text(legend + more, "dim")] if body.keys else []
    return replace(body, lines=[*body.lines, *below])


def _column(name: str, n: int, instance: InstanceSnapshot) -> Column:
    """An instance's; marked where what stands in it is of no use to requests for now."""
    mark = _mark(instance)
    style = "bold yellow" if mark else "dim"
    return Column(name, n + 1, right=True, most=12, mark=mark, style=style)


def _mark(instance: InstanceSnapshot) -> str:
    return "" if instance.in_rotation and not instance.ejected_s else _OUT


def detail(scene: Scene, key: str, view: View) -> Sequence[Text]:
    """Where one model is, and how."""
    told = [("model", key)]
    told += [(i.name, _told(key, i, view)) for i in scene.snapshot.instances]
    return fields(told, view)


def short_names(names: Sequence[str]) -> Sequence[str]:
    """The names without what all have in common at their beginning, so that columns are narrow."""
    shared = 0
    if len(names) > 1:
        shared = sum(
            1 for _ in takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
        )
    common = names[0][:shared].rstrip("0123456789") if names else ""
    return [name.removeprefix(common) or name for name in names]


@dataclass(frozen=True, slots=True)
class _Site:
    """An instance, what is in its memory by name, and what its store holds."""

    instance: InstanceSnapshot
    hot: Mapping[str, Mapping[str, Any]]
    stored: frozenset[str]


def _models(sites: Sequence[_Site]) -> Sequence[str]:
    return sorted({name for site in sites for name in (*site.stored, *site.hot)})


def _hot(instance: InstanceSnapshot) -> Mapping[str, Mapping[str, Any]]:
    """What is in its memory, by name, as /api/ps lists it."""
    return {row["name"]: row for row in instance.resident if isinstance(row.get("name"), str)}


def _row(model: str, sites: Sequence[_Site], words: _Words, view: View) -> Row:
    cells = [_cell(model, site, words, view) for site in sites]
    hot = sum(model in site.hot for site in sites)
    summed = Cell(f"{hot}", "green" if hot else "dim", float(hot))
    name = Cell(view.glyphs.clean(model).removesuffix(":latest"), "bold" if hot else "")
    return Row((name, summed, *cells))


def _cell(model: str, site: _Site, words: _Words, view: View) -> Cell:
    instance, row = site.instance, site.hot.get(model)
    if model in instance.reloading:  # whatever is in memory is old: it gets no requests
        return Cell(words.reloading, "cyan", 2.5)
    if row is not None:
        busy = instance.in_flight_by_model.get(model, 0)
        slots = instance.slots_by_model.get(model, instance.slots)
        style = "bold green" if _is_whole(row, instance) else "bold yellow"
        return Cell(words.in_memory.format(busy=busy, slots=slots), style, 3.0 + busy)
    if model in instance.loading:
        return Cell(words.loading, "magenta", 2.0)
    if model in site.stored:
        return Cell(words.on_disk, "", 1.0)
    return Cell(view.glyphs.dot, "dim", 0.0)


def _is_whole(row: Mapping[str, Any], instance: InstanceSnapshot) -> bool:
    """All of it is on a GPU, where there is one."""
    size, in_vram = row.get("size"), row.get("size_vram")
    known = isinstance(size, int) and isinstance(in_vram, int)
    return not (instance.gpus and known and in_vram < size)  # type: ignore[operator]


def _told(model: str, instance: InstanceSnapshot, view: View) -> str:
    if model in instance.reloading:
        return "reloading: its weights were replaced, and it gets no requests until it has the new"
    row = _hot(instance).get(model)
    if row is None:
        if model in instance.loading:
            return "being loaded"
        return "on disk" if model in instance.stored else "absent"
    return f"in memory, {in_memory(instance, model, row, view)}"
