"""The interactive screen: read a snapshot, draw it, listen for keys; or a single look.

Textual will take over this loop; the panels stay.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from rich.console import Console
from rich.live import Live

from ollama_fleet.errors import FleetError
from ollama_fleet.state.snapshot import FleetSnapshot
from ollama_fleet.tui.keys import Controls, Outcome, interrupt, keys, press
from ollama_fleet.tui.panels import ASCII, UNICODE, Glyphs, View, page, screen
from ollama_fleet.tui.rates import Rates, follow
from ollama_fleet.tui.terminal import Keyboard, keyboard

INTERVAL_S = 0.5

__all__ = ["INTERVAL_S", "Outcome", "run"]


def run(
    read: Callable[[], FleetSnapshot],
    *,
    console: Console,
    interval_s: float = INTERVAL_S,
    once: bool = False,
    stop: Callable[[], None] | None = None,
) -> Outcome:
    """Show the fleet until the reader leaves; print it once where there is no terminal.

    `read` gives up by itself after a second or two. What it raises the first time is passed on;
    from then on a FleetError means that the fleet is away, which is shown, and waited for.
    Where `stop` is given the reader is asked on leaving, and it is called once the terminal is
    as it was.
    """
    snapshot = read()
    if once or not (console.is_terminal and sys.stdin.isatty()):
        console.print(page(snapshot, _view(console, now_unix_s=time.time())), crop=False)
        return Outcome.PRINTED
    with (
        keyboard(sys.stdin.fileno()) as typed,
        Live(
            console=console,
            screen=True,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
        ) as live,
    ):
        watch = _Watch(read, snapshot, can_stop=stop is not None)
        outcome = _loop(watch, live, typed, interval_s)
    if outcome is Outcome.STOPPED and stop is not None:
        stop()
    return outcome


@dataclass
class _Watch:
    """What the loop knows: the last snapshot, how fast things go, what the reader chose."""

    read: Callable[[], FleetSnapshot]
    snapshot: FleetSnapshot
    can_stop: bool
    rates: Rates = field(default_factory=Rates)
    controls: Controls = field(default_factory=Controls)
    away: str = ""
    away_since_s: float = 0.0

    def look(self, now_s: float) -> None:
        """Read a snapshot, unless the reader holds the screen still."""
        if self.controls.paused:
            return
        try:
            self.snapshot = self.read()
        except FleetError as error:
            self.away_since_s = self.away_since_s if self.away else now_s
            self.away = error.reason
        else:
            self.away = ""
            self.rates = follow(self.rates, self.snapshot)

    def take(self, typed: bytes) -> Outcome | None:
        """Let the keys act; the outcome if one of them ends it."""
        for key in keys(typed):
            after = press(self.controls, key, can_stop=self.can_stop)
            if isinstance(after, Outcome):
                return after
            self.controls = after
        return None

    def interrupted(self) -> Outcome | None:
        """Ctrl-C."""
        after = interrupt(self.controls, can_stop=self.can_stop)
        if isinstance(after, Outcome):
            return after
        self.controls = after
        return None

    def draw(self, live: Live, now_s: float) -> None:
        """Put the screen out, as large as the terminal is now."""
        view = _view(
            live.console,
            now_unix_s=time.time(),
            height=live.console.size.height,
            rates=self.rates,
            controls=self.controls,
            away=self.away,
            away_s=now_s - self.away_since_s,
        )
        live.update(screen(self.snapshot, view), refresh=True)


def _loop(watch: _Watch, live: Live, typed: Keyboard, interval_s: float) -> Outcome:
    next_look_s = time.monotonic()
    outcome: Outcome | None = None
    while outcome is None:
        try:
            now_s = time.monotonic()
            if now_s >= next_look_s:
                watch.look(now_s)
                next_look_s = now_s + interval_s
            watch.draw(live, now_s)
            pressed = typed.wait(next_look_s - time.monotonic())
            outcome = Outcome.LEFT if pressed is None else watch.take(pressed)
        except KeyboardInterrupt:
            outcome = watch.interrupted()
    return outcome


def _view(
    console: Console,
    *,
    now_unix_s: float,
    height: int | None = None,
    rates: Rates | None = None,
    controls: Controls | None = None,
    away: str = "",
    away_s: float = 0.0,
) -> View:
    chosen = controls or Controls()
    return View(
        width=console.size.width,
        height=height,
        now_unix_s=now_unix_s,
        rates=rates or Rates(),
        glyphs=glyphs_for(console.encoding),
        mode=chosen.mode,
        paused=chosen.paused,
        away=away,
        away_s=away_s,
    )


def glyphs_for(encoding: str) -> Glyphs:
    """The characters that a terminal of that encoding can show."""
    return UNICODE if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else ASCII
