"""Reads a fleet look by look: what the view shows, and what has to be followed all the time."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final

from ollama_fleet.errors import FleetError
from ollama_fleet.tui.panels import Tab
from ollama_fleet.tui.rates import follow
from ollama_fleet.tui.scene import LogLine, Scene
from ollama_fleet.tui.source import Source
from ollama_fleet.tui.trails import remember

REQUESTS: Final = 200
DECISIONS: Final = 60
SLOWLY_S: Final[Mapping[Tab, float]] = MappingProxyType({Tab.REQUESTS: 0.9, Tab.DECISIONS: 1.9})
EVENTS: Final = 500
LINES: Final = 1000


class Watch:
    """What has been read so far. `away` says why the fleet does not answer, "" while it does.

    `clean` makes lines of a log harmless. `look` blocks.
    """

    def __init__(self, source: Source, scene: Scene, clean: Callable[[str], str]) -> None:
        self.source = source
        self.scene = scene
        self.away = ""
        self.away_since_s = 0.0
        self._clean = clean
        self._lines = 0
        self._slow: Tab | None = None  # which of the views that are read less often was read,
        self._slow_since_s = 0.0  # and when

    def look(self, tab: Tab, now_s: float) -> None:
        """Read once more what that view shows; a fleet that does not answer is away."""
        try:
            self.scene = self._read(tab, now_s)
        except FleetError as error:
            self.away_since_s = self.away_since_s if self.away else now_s
            self.away = error.reason
        else:
            self.away = ""

    def _read(self, tab: Tab, now_s: float) -> Scene:
        snapshot = self.source.snapshot()
        scene = _started_anew(self.scene, snapshot.started_s)
        scene = replace(
            scene,
            snapshot=snapshot,
            rates=follow(scene.rates, snapshot),
            trails=remember(scene.trails, snapshot),
        )
        match tab:
            case Tab.OVERVIEW:
                return replace(scene, live=self.source.live(0))
            case Tab.REQUESTS if self._due(tab, now_s):
                return replace(scene, live=self.source.live(REQUESTS))
            case Tab.DECISIONS if self._due(tab, now_s):
                return replace(scene, decisions=tuple(self.source.decisions(DECISIONS)))
            case Tab.EVENTS:
                return self._with_events(scene)
            case Tab.LOGS:
                return self._with_lines(scene)
            case _:
                return scene

    def _due(self, tab: Tab, now_s: float) -> bool:
        """After a second or two: where many requests come and go, all lines of such a view move."""
        due = tab is not self._slow or now_s - self._slow_since_s > SLOWLY_S[tab]
        if due:
            self._slow, self._slow_since_s = tab, now_s
        return due

    def _with_events(self, scene: Scene) -> Scene:
        last = scene.events[-1].number if scene.events else 0
        return replace(scene, events=(*scene.events, *self.source.events(last))[-EVENTS:])

    def _with_lines(self, scene: Scene) -> Scene:
        new = self.source.log_lines()
        if not new:
            return scene
        lines = tuple(
            LogLine(self._lines + n, self._clean(name), self._clean(text))
            for n, (name, text) in enumerate(new)
        )
        self._lines += len(lines)
        return replace(scene, lines=(*scene.lines, *lines)[-LINES:])


def _started_anew(scene: Scene, started_s: float) -> Scene:
    """A fleet that was started anew tells all of its events: it may not know those of before."""
    return scene if scene.snapshot.started_s == started_s else replace(scene, events=())
