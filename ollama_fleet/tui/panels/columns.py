"""The columns of the instances' table: what each shows, and which of them a width has room for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from rich.cells import cell_len

from ollama_fleet.state import Served
from ollama_fleet.state.records import Health, Phase
from ollama_fleet.state.snapshot import GpuSnapshot, InstanceSnapshot
from ollama_fleet.tui.panels.text import Glyphs, Pieces, count, field, gibibytes, seconds
from ollama_fleet.tui.scene import Scene

BAR_WIDTHS = (20, 16, 12, 8, 5, 4, 3)
NAME_WIDTH = 20
_SPARED = 4  # columns that are worth less than bars
_FULL = 0.95
_PHASE_STYLES = {
    Phase.READY: "green",
    Phase.STARTING: "cyan",
    Phase.DRAINING: "cyan",
    Phase.STOPPING: "cyan",
    Phase.BACKOFF: "yellow",
    Phase.FAILED: "bold red",
    Phase.STOPPED: "dim",
}


@dataclass(frozen=True, slots=True)
class Sight:
    """What a cell is drawn from."""

    instance: InstanceSnapshot
    gpus: tuple[GpuSnapshot, ...]
    rate_per_s: float | None
    served: Served | None
    glyphs: Glyphs


@dataclass(frozen=True, slots=True)
class Column:
    """One column of `width` cells, and `bar` more where it draws one, of its `value` from 0 to 1.

    `rank` says who gives way where there is no room: the highest goes first. Sorted by `value`,
    highest first; without one by what is drawn, A first.
    """

    title: str
    width: int
    rank: int
    draw: Callable[[Sight], Pieces]
    value: Callable[[Sight], float | None] | None = None
    to_the_right: bool = True
    bar: int = 0
    colour: str = ""
    warns: bool = False

    @property
    def cells(self) -> int:
        """Its whole width."""
        return self.width + (self.bar + 1 if self.bar else 0)

    def head(self, mark: str = "") -> Pieces:
        """Its title and a mark, as wide as the column."""
        return self._place(
            [(self.title + mark if len(self.title) < self.cells else self.title, "dim")]
        )

    def cell(self, sight: Sight) -> Pieces:
        """What it shows of an instance, as wide as the column."""
        figure = self.draw(sight)
        ratio = self.value(sight) if self.bar and self.value is not None else None
        if ratio is None:
            return self._place(figure)
        style = "yellow" if self.warns and ratio > _FULL else self.colour
        bar = sight.glyphs.bar(ratio, self.bar, style)
        return (*bar, (" ", ""), *field(figure, self.width, at_right=True))

    def _place(self, pieces: Pieces) -> Pieces:
        return field(pieces, self.cells, at_right=self.to_the_right)


def columns(seen: Sequence[Sight], width: int, *, with_gpus: bool = True) -> tuple[Column, ...]:
    """The columns that `width` cells hold: bars as long as may be, and the least columns go.

    `with_gpus`: the figures of its GPUs stand in an instance's line.
    """
    chosen = every(seen, BAR_WIDTHS[0], with_gpus=with_gpus)
    for fewer in range(_SPARED + 1):
        kept = _without(chosen, fewer)
        for bar in BAR_WIDTHS:
            candidate = _barred(kept, bar)
            if needed(candidate) <= width:
                return candidate
    chosen = _barred(chosen, 0)
    while needed(chosen) > width and len(chosen) > 1:
        chosen = _without(chosen, 1)
    return chosen


def _barred(chosen: Sequence[Column], bar: int) -> tuple[Column, ...]:
    """The same with bars of so many cells."""
    return tuple(replace(c, bar=bar) if c.bar else c for c in chosen)


def _without(chosen: tuple[Column, ...], fewer: int) -> tuple[Column, ...]:
    """All but the least."""
    least = sorted(chosen, key=lambda c: c.rank)[len(chosen) - fewer :]
    return tuple(c for c in chosen if c not in least)


def needed(chosen: Sequence[Column]) -> int:
    """The cells that these columns take, with a blank between each two."""
    return sum(c.cells for c in chosen) + len(chosen) - 1


def sights(scene: Scene, glyphs: Glyphs) -> tuple[Sight, ...]:
    """Every instance with its GPUs, and how it has answered of late."""
    snapshot = scene.snapshot
    by_uuid = {gpu.uuid: gpu for gpu in snapshot.gpus}
    served = {each.instance: each for each in scene.live.served}
    return tuple(
        Sight(
            i,
            tuple(by_uuid[u] for u in i.gpus if u in by_uuid),
            scene.rates.of(i.name),
            served.get(i.name),
            glyphs,
        )
        for i in snapshot.instances
    )


def every(seen: Sequence[Sight], bar: int, *, with_gpus: bool = True) -> tuple[Column, ...]:
    """All columns, as wide as what they show, with bars of `bar` cells."""
    name = max((cell_len(s.glyphs.clean(s.instance.name)) for s in seen), default=0)
    gpus = max((len(_indices(s)) for s in seen), default=0)
    memory = max((len(_memory(s)) for s in seen), default=0)
    of_gpus = (
        Column("UTIL", 4, 5, _utilisation, _busy_share, bar=bar, colour="green"),
        Column("VRAM", max(memory, 4), 6, _vram, _used_share, bar=bar, colour="blue", warns=True),
    )
    return (
        Column("NAME", min(max(name, 4), NAME_WIDTH), 0, _name, to_the_right=False),
        Column("GPU", min(max(gpus, 3), 8), 4, lambda s: [(_indices(s), "")], to_the_right=False),
        *(of_gpus if with_gpus else ()),
        Column("STATE", 9, 1, _state, to_the_right=False),
        Column("BUSY", 5, 2, _busy, lambda s: s.instance.in_flight),
        Column("WAIT", 4, 3, lambda s: _counted(s.instance.waiting, "yellow"), _waiting),
        Column("TOK/S", 5, 7, _tokens, lambda s: s.rate_per_s),
        Column("TTFT", 6, 8, lambda s: _first(s, 50), lambda s: _first_s(s, 50)),
        Column("P95", 6, 11, lambda s: _first(s, 95), lambda s: _first_s(s, 95)),
        Column("REQS", 5, 10, lambda s: _counted(s.instance.requests, ""), _requests),
        Column("FAIL", 4, 9, lambda s: _counted(s.instance.failures, "red"), _failures),
        Column("RUNS", 4, 12, _starts, lambda s: s.instance.starts),
    )


# -- cells -----------------------------------------------------------------------------------------


def _name(sight: Sight) -> Pieces:
    glyphs = sight.glyphs
    return [(glyphs.fit(glyphs.clean(sight.instance.name), NAME_WIDTH), "bold")]


def _indices(sight: Sight) -> str:
    """`0`, `0-3`, `0,2`; an instance of someone else's has `ext`, one without GPUs `cpu`."""
    if not sight.gpus:
        return "ext" if sight.instance.external else "cpu"
    indices = sorted(gpu.index for gpu in sight.gpus)
    runs: list[list[int]] = []
    for index in indices:
        if runs and index == runs[-1][-1] + 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    return ",".join(str(r[0]) if len(r) == 1 else f"{r[0]}-{r[-1]}" for r in runs)


def _utilisation(sight: Sight) -> Pieces:
    ratio = _busy_share(sight)
    return _dash() if ratio is None else [(f"{ratio:.0%}", "")]


def _vram(sight: Sight) -> Pieces:
    return [(_memory(sight), "")] if _used_share(sight) is not None else _dash()


def _used_share(sight: Sight) -> float | None:
    used, total = _used(sight), sum(gpu.memory_bytes for gpu in sight.gpus)
    return used / total if used is not None and total else None


def _memory(sight: Sight) -> str:
    used, total = _used(sight), sum(gpu.memory_bytes for gpu in sight.gpus)
    return "" if used is None else gibibytes(used, total)


def _used(sight: Sight) -> int | None:
    known = [g.memory_used_bytes for g in sight.gpus if g.memory_used_bytes is not None]
    return sum(known) if known else None


def _state(sight: Sight) -> Pieces:
    instance = sight.instance
    if instance.phase is Phase.READY and instance.health is Health.UNHEALTHY:
        return [("unhealthy", "bold yellow")]
    if instance.healthy and instance.drain is not None:
        return [("drained", "bold yellow")]
    if instance.healthy and instance.ejected_s:
        return [("ejected", "bold yellow")]
    return [(instance.phase.value, _PHASE_STYLES[instance.phase])]


def _busy(sight: Sight) -> Pieces:
    busy, places = sight.instance.in_flight, sight.instance.places
    style = "" if busy else "dim"
    return [(str(busy), style), (f"/{places or sight.instance.slots}", "dim")]


def _tokens(sight: Sight) -> Pieces:
    rate = sight.rate_per_s
    return _dash() if rate is None else _counted(rate, "")


def _first(sight: Sight, percent: int) -> Pieces:
    first_s = _first_s(sight, percent)
    return _dash() if first_s is None else [(seconds(first_s), "")]


def _first_s(sight: Sight, percent: int) -> float | None:
    served = sight.served
    if served is None:
        return None
    return served.ttft_p50_s if percent == 50 else served.ttft_p95_s


def _waiting(sight: Sight) -> float:
    return sight.instance.waiting


def _requests(sight: Sight) -> float:
    return sight.instance.requests


def _failures(sight: Sight) -> float:
    return sight.instance.failures


def _busy_share(sight: Sight) -> float | None:
    known = [g.utilisation_ratio for g in sight.gpus if g.utilisation_ratio is not None]
    return sum(known) / len(known) if known else None


def _starts(sight: Sight) -> Pieces:
    starts = sight.instance.starts
    return [(count(starts), "yellow" if starts > 1 else "dim")]


def _counted(number: float, style: str) -> Pieces:
    return [(count(number), style if number >= 0.5 else "dim")]


def _dash() -> Pieces:
    return [("-", "dim")]
