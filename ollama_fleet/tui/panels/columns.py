"""The columns of the instances' table: what each shows, and which of them a width has room for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from rich.cells import cell_len
from rich.text import Text

from ollama_fleet.state.records import Health, Phase
from ollama_fleet.state.snapshot import FleetSnapshot, GpuSnapshot, InstanceSnapshot
from ollama_fleet.tui.panels.text import Glyphs, count, gibibytes, left, right
from ollama_fleet.tui.rates import Rates

BAR_WIDTHS = (20, 16, 12, 8, 5, 4, 3)
NAME_WIDTH = 20
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
    """What a cell is drawn from: `width` cells for its figure, `bar` for its bar, 0 for none."""

    instance: InstanceSnapshot
    gpus: tuple[GpuSnapshot, ...]
    rates: Rates
    glyphs: Glyphs
    width: int = 0
    bar: int = 0


@dataclass(frozen=True, slots=True)
class Column:
    """One column of `width` cells, and `bar` more where it draws one.

    `rank` says who gives way where there is no room: the highest goes first.
    """

    title: str
    width: int
    rank: int
    draw: Callable[[Sight], Text]
    to_the_right: bool = True
    bar: int = 0

    @property
    def cells(self) -> int:
        """Its whole width."""
        return self.width + (self.bar + 1 if self.bar else 0)

    def head(self) -> Text:
        """Its title, as wide as the column."""
        return self._place(Text(self.title))

    def cell(self, sight: Sight) -> Text:
        """What it shows of an instance, as wide as the column."""
        return self._place(self.draw(replace(sight, width=self.width, bar=self.bar)))

    def _place(self, text: Text) -> Text:
        return right(text, self.cells) if self.to_the_right else left(text, self.cells)


def columns(snapshot: FleetSnapshot, glyphs: Glyphs, width: int) -> tuple[Column, ...]:
    """The columns that `width` cells hold: first the bars shrink, then the least columns go."""
    for bar in BAR_WIDTHS:
        candidate = every(snapshot, glyphs, bar)
        if needed(candidate) <= width:
            return candidate
    chosen = every(snapshot, glyphs, 0)
    while needed(chosen) > width and len(chosen) > 1:
        least = max(chosen, key=lambda c: c.rank)
        chosen = tuple(c for c in chosen if c is not least)
    return chosen


def needed(chosen: Sequence[Column]) -> int:
    """The cells that these columns take, with a blank between each two."""
    return sum(c.cells for c in chosen) + len(chosen) - 1


def sights(snapshot: FleetSnapshot, rates: Rates, glyphs: Glyphs) -> tuple[Sight, ...]:
    """Every instance with its GPUs."""
    by_uuid = {gpu.uuid: gpu for gpu in snapshot.gpus}
    return tuple(
        Sight(i, tuple(by_uuid[u] for u in i.gpus if u in by_uuid), rates, glyphs)
        for i in snapshot.instances
    )


def every(snapshot: FleetSnapshot, glyphs: Glyphs, bar: int) -> tuple[Column, ...]:
    """All columns, as wide as what they show, with bars of `bar` cells."""
    seen = sights(snapshot, Rates(), glyphs)
    name = max((cell_len(glyphs.clean(s.instance.name)) for s in seen), default=0)
    gpus = max((len(_indices(s)) for s in seen), default=0)
    memory = max((len(_memory(s)) for s in seen), default=0)
    return (
        Column("NAME", min(max(name, 4), NAME_WIDTH), 0, _name, to_the_right=False),
        Column("GPU", min(max(gpus, 3), 8), 4, lambda s: Text(_indices(s)), to_the_right=False),
        Column("UTIL", 4, 5, _utilisation, bar=bar),
        Column("VRAM", max(memory, 4), 6, _vram, bar=bar),
        Column("STATE", 9, 1, _state, to_the_right=False),
        Column("BUSY", 5, 2, _busy),
        Column("WAIT", 4, 3, lambda s: _counted(s.instance.waiting, "yellow")),
        Column("TOK/S", 5, 7, _tokens),
        Column("REQS", 5, 8, lambda s: _counted(s.instance.requests, "")),
        Column("FAIL", 4, 9, lambda s: _counted(s.instance.failures, "red")),
        Column("RUNS", 4, 10, _starts),
    )


# -- cells -----------------------------------------------------------------------------------------


def _name(sight: Sight) -> Text:
    glyphs = sight.glyphs
    return Text(glyphs.fit(glyphs.clean(sight.instance.name), NAME_WIDTH), "bold")


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


def _utilisation(sight: Sight) -> Text:
    known = [g.utilisation_ratio for g in sight.gpus if g.utilisation_ratio is not None]
    if not known:
        return _dash()
    ratio = sum(known) / len(known)
    return _measured(sight, ratio, f"{ratio:.0%}", "green")


def _vram(sight: Sight) -> Text:
    used = _used(sight)
    total = sum(gpu.memory_bytes for gpu in sight.gpus)
    if used is None or not total:
        return _dash()
    ratio = used / total
    return _measured(sight, ratio, _memory(sight), "yellow" if ratio > 0.95 else "blue")


def _measured(sight: Sight, ratio: float, figure: str, style: str) -> Text:
    text = Text(figure.rjust(sight.width))
    return sight.glyphs.bar(ratio, sight.bar, style).append(" ").append(text) if sight.bar else text


def _memory(sight: Sight) -> str:
    used, total = _used(sight), sum(gpu.memory_bytes for gpu in sight.gpus)
    return "" if used is None else gibibytes(used, total)


def _used(sight: Sight) -> int | None:
    known = [g.memory_used_bytes for g in sight.gpus if g.memory_used_bytes is not None]
    return sum(known) if known else None


def _state(sight: Sight) -> Text:
    instance = sight.instance
    if instance.phase is Phase.READY and instance.health is Health.UNHEALTHY:
        return Text("unhealthy", "bold yellow")
    return Text(instance.phase.value, _PHASE_STYLES[instance.phase])


def _busy(sight: Sight) -> Text:
    busy, slots = sight.instance.in_flight, sight.instance.slots
    style = "" if busy else "dim"
    return Text.assemble((str(busy), style), (f"/{slots}", "dim"))


def _tokens(sight: Sight) -> Text:
    rate = sight.rates.of(sight.instance.name)
    return _dash() if rate is None else _counted(rate, "")


def _starts(sight: Sight) -> Text:
    starts = sight.instance.starts
    return Text(count(starts), "yellow" if starts > 1 else "dim")


def _counted(number: float, style: str) -> Text:
    return Text(count(number), style if number >= 0.5 else "dim")


def _dash() -> Text:
    return Text("-", "dim")
