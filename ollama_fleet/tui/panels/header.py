"""The head of the screen: what runs where, and the fleet in one line of figures."""

from collections.abc import Iterable, Sequence

from rich.text import Text

from ollama_fleet.state.snapshot import FleetSnapshot
from ollama_fleet.tui.panels.text import count, left, plural
from ollama_fleet.tui.panels.view import View
from ollama_fleet.tui.scene import Scene
from ollama_fleet.units import show_duration


def header(scene: Scene, view: View) -> list[Text]:
    """Two lines; a third where the fleet does not answer or its GPUs cannot be read."""
    snapshot = scene.snapshot
    lines = [_title(snapshot, view), _figures(scene, view)]
    if view.away:
        lines.append(_warning(_away(view), view))
    elif snapshot.gpu_error:
        lines.append(_warning(f"GPUs cannot be read: {snapshot.gpu_error}", view))
    return lines


def _title(snapshot: FleetSnapshot, view: View) -> Text:
    """The name and what is known of the fleet; the version and then the strategy give way."""
    clean = view.glyphs.clean
    up = Text(f" up {show_duration(snapshot.now_s - snapshot.started_s)}", "dim")
    badges = [Text(f" {badge} ", style) for badge, style in _badges(snapshot, view)]
    name = Text("Ollama Fleet", "bold")
    version = Text(clean(snapshot.version), "dim")
    listen = Text(clean(snapshot.listen), "bold cyan")
    strategy = Text(clean(snapshot.strategy))
    choices = (
        Text("  ").join(parts)
        for parts in (
            (name, version, listen, strategy, *badges),
            (name, listen, strategy, *badges),
            (name, listen, *badges),
        )
    )
    return _first_that_fits(choices, view.width - up.cell_len).append(up)


def _first_that_fits(choices: Iterable[Text], width: int) -> Text:
    """The first text of at most `width` cells, or what fits of the last, padded to `width`."""
    text = Text()
    for text in choices:
        if text.cell_len <= width:
            break
    return left(text, max(width, 0))


def _badges(snapshot: FleetSnapshot, view: View) -> Sequence[tuple[str, str]]:
    badges = (
        (snapshot.simulated, "SIMULATED", "black on yellow"),
        (snapshot.stopping, "STOPPING", "black on cyan"),
        (view.paused, "PAUSED", "reverse"),
    )
    return [(text, style) for shown, text, style in badges if shown]


def _figures(scene: Scene, view: View) -> Text:
    snapshot, instances = scene.snapshot, scene.snapshot.instances
    ready = sum(i.in_rotation for i in instances)
    in_flight = sum(i.in_flight for i in instances)
    failures = sum(i.failures for i in instances)
    rate = scene.rates.total
    parts = (
        (f"{ready}/{len(instances)} ready", _readiness(ready, len(instances))),
        (f"{in_flight} in flight", ""),
        (f"{snapshot.waiting} waiting", "yellow" if snapshot.waiting else ""),
        ("- tokens/s" if rate is None else f"{count(rate)} tokens/s", ""),
        (f"{count(failures)} failed", "red" if failures else ""),
        (plural(sum(i.requests for i in instances), "request"), ""),
    )
    gap = Text(f" {view.glyphs.dot} ", "dim")
    texts = [Text(text, style) for text, style in parts]
    choices = (gap.join(texts[:number]) for number in range(len(texts), 0, -1))
    return _first_that_fits(choices, view.width)


def _readiness(ready: int, of: int) -> str:
    if ready == of:
        return "green"
    return "yellow" if ready else "red"


def _away(view: View) -> str:
    since = show_duration(view.away_s)
    return f"no answer from the fleet for {since}, waiting for it: {view.away}"


def _warning(text: str, view: View) -> Text:
    return Text(view.glyphs.fit(view.glyphs.clean(text), view.width), "yellow")
