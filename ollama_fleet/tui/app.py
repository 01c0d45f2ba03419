"""The interactive screen: Textual's keys, mouse, size and terminal around the panels.

Reading happens on a thread, twice a second; what a key does is decided in keys.py.
"""

import asyncio
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from threading import Thread
from typing import ClassVar, Final

from rich.console import RenderableType
from rich.traceback import Traceback
from textual import events
from textual.app import App, ComposeResult

from ollama_fleet.errors import FleetError
from ollama_fleet.system.signals import hear
from ollama_fleet.tui.keys import (
    INTERRUPT,
    Act,
    Controls,
    May,
    Order,
    Outcome,
    choose,
    press,
    switch,
)
from ollama_fleet.tui.panels import Glyphs, Sheet, View, screen
from ollama_fleet.tui.scene import Scene
from ollama_fleet.tui.source import Source
from ollama_fleet.tui.tiles import Tiles
from ollama_fleet.tui.watch import Watch

_ENDING: Final = ("SIGTERM", "SIGHUP")


class Dashboard(App[Outcome], inherit_bindings=False):
    """Shows a fleet until its reader leaves. `wall` is Unix time.

    What a bug raises ends it, and is in `bug`; a signal ends it with a return code. It is `garbled`
    when a byte came that is no UTF-8: Textual reads no more keys then, and who runs it begins anew
    with the `controls` as they were.
    """

    ENABLE_COMMAND_PALETTE: ClassVar[bool] = False
    ALLOW_SELECT: ClassVar[bool] = False
    CSS: ClassVar[str] = "Screen { background: ansi_default; overflow: hidden hidden; }"

    def __init__(
        self,
        source: Source,
        scene: Scene,
        controls: Controls,
        *,
        glyphs: Glyphs,
        colour: bool,
        may: May,
        interval_s: float,
        wall: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(ansi_color=True)
        self.bug: BaseException | None = None
        self._watch = Watch(source, scene, glyphs.clean)
        self.garbled = False
        self.controls = controls
        self._glyphs = glyphs
        self._may = may
        self._interval_s = interval_s
        self._wall = wall
        self._now_unix_s = wall()
        self._tiles = Tiles(colour=colour)
        self._sheet: Sheet | None = None
        self._turn = asyncio.Lock()  # one look at a time: a fleet may take long to answer

    def compose(self) -> ComposeResult:
        """All of it is one screen."""
        yield self._tiles

    def on_mount(self) -> None:
        """Begin to look."""
        for name in _ENDING:
            hear(name, self.exit, None, 128 + getattr(signal, name, 0))
        hear("SIGINT", self._press, INTERRUPT)
        self.set_interval(self._interval_s, self._look)
        self._draw()

    async def _look(self) -> None:
        """Read the fleet, unless the reader holds the screen still, and draw."""
        async with self._turn:
            if not self.controls.paused:
                try:
                    await asyncio.to_thread(self._watch.look, self.controls.tab, time.monotonic())
                except Exception as error:  # noqa: BLE001 - told once the terminal is as it was
                    self.bug = error
                    self.exit(return_code=1)
                    return
                self._now_unix_s = self._wall()
            self._draw()

    def _draw(self) -> None:
        if self.size.width < 2 or self.size.height < 2:
            return
        self._sheet = sheet = screen(self._watch.scene, self._view())
        self._tiles.show(sheet.lines, self.size.width, self.console)

    def _view(self) -> View:
        chosen = self.controls
        return View(
            width=self.size.width,
            height=self.size.height,
            now_unix_s=self._now_unix_s,
            glyphs=self._glyphs,
            tab=chosen.tab,
            mode=chosen.mode,
            paused=chosen.paused,
            away=self._watch.away,
            away_s=time.monotonic() - self._watch.away_since_s,
            words=chosen.words,
            sort=chosen.sort,
            chosen=chosen.chosen,
            at=chosen.at,
            subject=chosen.subject,
            notice=chosen.notice,
            readonly=not self._may.change,
        )

    def panic(self, *renderables: RenderableType) -> None:
        """Told of what ended Textual's reader of keys, among others."""
        traces = (r.trace for r in renderables if isinstance(r, Traceback))
        stacks = (stack for trace in traces for stack in trace.stacks)
        self.garbled = any(stack.exc_type == UnicodeDecodeError.__name__ for stack in stacks)
        if self.garbled:
            self.exit()
        else:
            super().panic(*renderables)

    # -- what the reader does -------------------------------------------------------------------

    def on_key(self, event: events.Key) -> None:
        """Let a key act."""
        event.stop()
        key = event.character if event.is_printable and event.character else event.key
        self._press(key)

    def on_resize(self) -> None:
        """Draw for the new size."""
        self.call_after_refresh(self._draw)

    def on_click(self, event: events.Click) -> None:
        """Open the view or choose the row that was clicked."""
        x, y = int(event.screen_x), int(event.screen_y)
        if self._sheet is None:
            return
        tab, row = self._sheet.tab_at(x, y), self._sheet.row_at(y)
        if tab is not None:
            self._go_on(switch(self.controls, tab))
        elif row:
            self._go_on(choose(self.controls, row))

    def on_mouse_scroll_up(self) -> None:
        """Move up some rows."""
        self._press("wheelup")

    def on_mouse_scroll_down(self) -> None:
        """Move down some rows."""
        self._press("wheeldown")

    def _press(self, key: str) -> None:
        if self._sheet is None:
            return
        after = press(self.controls, key, self._sheet, self._may)
        if isinstance(after, Outcome):
            self.exit(after)
        elif isinstance(after, Order):
            self._order(after)
        else:
            self._go_on(after)

    def _go_on(self, controls: Controls) -> None:
        other = controls.tab is not self.controls.tab
        self.controls = controls
        self._draw()
        if other:  # not by a message: no key would act until the fleet has answered
            self.run_worker(self._look())

    def _order(self, order: Order) -> None:
        """On a thread of its own that nobody waits for: a restart waits for the last request."""
        self._go_on(order.controls)
        act, name = order.act, order.instance
        label = f"{act.name.lower()} {name}"
        Thread(target=self._carry_out, args=(act, name), name=label, daemon=True).start()

    def _carry_out(self, act: Act, instance: str) -> None:
        source = self._watch.source
        calls = {Act.RESTART: source.restart, Act.DRAIN: source.drain, Act.UNDRAIN: source.undrain}
        try:
            calls[act](instance)
            said = f"{instance} {act.value}"
        except FleetError as error:
            said = f"{instance}: {error.reason}"
        with suppress(RuntimeError):  # the reader has left
            self.call_from_thread(self._say, said)

    def _say(self, notice: str) -> None:
        self._go_on(replace(self.controls, notice=notice))
