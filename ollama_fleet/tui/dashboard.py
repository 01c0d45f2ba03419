"""The dashboard: an interactive screen, or a single look where there is no terminal."""

import io
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from rich.console import Console

from ollama_fleet.tui.keys import Controls, May, Outcome
from ollama_fleet.tui.panels import ASCII, UNICODE, Glyphs, Tab, View, page, screen
from ollama_fleet.tui.scene import Scene
from ollama_fleet.tui.source import Source
from ollama_fleet.tui.watch import Watch

INTERVAL_S: Final = 0.5

__all__ = ["INTERVAL_S", "Outcome", "Wish", "draw", "run"]


@dataclass(frozen=True, slots=True)
class Wish:
    """How the dashboard is to be shown: which view, once only, without commands, how often."""

    tab: Tab = Tab.OVERVIEW
    once: bool = False
    readonly: bool = False
    interval_s: float = INTERVAL_S


def run(
    source: Source,
    *,
    console: Console,
    wish: Wish | None = None,
    stop: Callable[[], None] | None = None,
) -> Outcome:
    """Show the fleet until the reader leaves; print it once where there is no terminal.

    What `source` raises the first time is passed on; from then on a FleetError means that the fleet
    is away, which is shown, and waited for. Where `stop` is given the reader is asked on leaving,
    and it is called once the terminal is as it was.
    """
    wish = wish or Wish()
    glyphs = glyphs_for(console.encoding)
    watch = _first_look(source, wish.tab, glyphs)
    if wish.once or not _is_a_terminal(console):
        view = View(console.size.width, None, time.time(), glyphs, wish.tab)
        console.print(page(watch.scene, view), crop=False)
        return Outcome.PRINTED
    outcome = _show(watch.scene, source, wish, console, may_stop=stop is not None)
    if outcome is Outcome.STOPPED and stop is not None:
        stop()
    return outcome


def draw(source: Source, *, tab: Tab, width: int, height: int, looks: int) -> str:
    """A picture (SVG) of the screen after so many looks, INTERVAL_S apart."""
    watch = _first_look(source, tab, UNICODE)
    for _ in range(looks):
        time.sleep(INTERVAL_S)
        watch.look(tab, time.monotonic())
    console = Console(width=width, height=height, record=True, file=io.StringIO())
    view = View(width, height, time.time(), UNICODE, tab)
    for line in screen(watch.scene, view).lines:
        console.print(line, no_wrap=True, overflow="crop")
    return console.export_svg(title="fleet top")


def glyphs_for(encoding: str) -> Glyphs:
    """The characters that a terminal of that encoding can show."""
    return UNICODE if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else ASCII


def _first_look(source: Source, tab: Tab, glyphs: Glyphs) -> Watch:
    """What is read first; whatever it raises."""
    watch = Watch(source, Scene(source.snapshot()), glyphs.clean)
    watch.look(tab, time.monotonic())
    return watch


def _is_a_terminal(console: Console) -> bool:
    """Somebody reads what is printed, and types. Textual draws on stderr."""
    return console.is_terminal and sys.stdin.isatty() and sys.stderr.isatty()


def _show(scene: Scene, source: Source, wish: Wish, console: Console, *, may_stop: bool) -> Outcome:
    from ollama_fleet.tui.app import Dashboard  # noqa: PLC0415 - a single look can do without

    controls = Controls(wish.tab)
    while True:
        app = Dashboard(
            source,
            scene,
            controls,
            glyphs=glyphs_for(console.encoding),
            colour=console.no_color is not True,
            may=May(stop=may_stop and not wish.readonly, change=not wish.readonly),
            interval_s=wish.interval_s,
        )
        outcome = app.run()
        if not app.garbled:
            break
        controls = app.controls
    if app.bug is not None:
        raise app.bug
    if outcome is None:  # a signal, or a fault of the screen itself, which has told of it
        sys.exit(app.return_code or 1)
    return outcome
