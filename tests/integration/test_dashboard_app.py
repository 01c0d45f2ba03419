"""The interactive screen as Textual's pilot drives it, over a fleet that is made up."""

import asyncio
import threading
from dataclasses import replace

import pytest
from rich.cells import cell_len
from scene_fixtures import NOW_UNIX_S, scene

from ollama_fleet.errors import FleetError, NotRunning
from ollama_fleet.tui.app import Dashboard
from ollama_fleet.tui.keys import Controls, May, Outcome
from ollama_fleet.tui.panels import UNICODE, Tab
from ollama_fleet.tui.scene import Scene

NEVER_S = 3600.0  # looks happen when a test says so


class Source:
    """A fleet that says what a scene has; `away` and it says nothing."""

    def __init__(self, made):
        self.made = made
        self.away = False
        self.asked = []
        self.restarted, self.drains = [], []
        self.refuses = ""

    def snapshot(self):
        self.asked.append("snapshot")
        if self.away:
            raise NotRunning("no fleet is running")
        return self.made.snapshot

    def live(self, limit):
        self.asked.append("live")
        return replace(self.made.live, requests=self.made.live.requests[:limit])

    def decisions(self, limit):
        self.asked.append("decisions")
        return self.made.decisions[:limit]

    def events(self, after):
        self.asked.append("events")
        return [e for e in self.made.events if e.number > after]

    def log_lines(self):
        lines, self.made = self.made.lines, replace(self.made, lines=())
        return [(line.instance, line.text) for line in lines]

    def drain(self, instance):
        self.drains.append(("drain", instance))

    def undrain(self, instance):
        self.drains.append(("undrain", instance))

    def restart(self, instance):
        if self.refuses:
            raise FleetError(self.refuses)
        self.restarted.append(instance)


class Driven:
    """The dashboard, its pilot and what is on its screen."""

    def __init__(self, app, pilot, source):
        self.app, self.pilot, self.source = app, pilot, source

    async def press(self, *keys):
        await self.pilot.press(*keys)
        await self.look()

    async def look(self):
        await self.app._look()
        await self.pilot.pause()

    @property
    def lines(self):
        strips = self.app.screen._compositor.render_strips()
        return ["".join(s.text for s in strip).rstrip() for strip in strips]

    @property
    def text(self):
        return "\n".join(self.lines)


def drive(steps, *, size=(80, 24), may=None, colour=True, tab=Tab.OVERVIEW):
    """Run a test's steps on a dashboard; what it returned."""

    async def run():
        source = Source(scene(4))
        app = Dashboard(
            source,
            Scene(source.made.snapshot),
            Controls(tab),
            glyphs=UNICODE,
            colour=colour,
            may=may or May(),
            interval_s=NEVER_S,
            wall=lambda: NOW_UNIX_S,
        )
        async with app.run_test(size=size) as pilot:
            driven = Driven(app, pilot, source)
            await driven.look()
            await steps(driven)
        if app.bug is not None:
            raise app.bug
        return app.return_value

    return asyncio.run(asyncio.wait_for(run(), 60))


@pytest.mark.parametrize("size", [(80, 24), (200, 60)])
def test_every_view_is_one_key_away_and_fits(size):
    async def steps(driven):
        for tab, said in zip(
            Tab, ("NAME", "STAGE", "LOADED", "line", "SCORES", "EVENT"), strict=True
        ):
            await driven.press(str(tab.value))
            assert said in driven.text
            assert len(driven.lines) == size[1]
            assert all(cell_len(line) <= size[0] for line in driven.lines)

    drive(steps, size=size)


def test_only_what_a_view_shows_is_read_for_it():
    async def steps(driven):
        for key, read in (("3", set()), ("6", {"events"}), ("5", {"decisions"}), ("2", {"live"})):
            await driven.press(key)
            driven.source.asked.clear()
            driven.app._watch._slow = None
            await driven.look()
            assert set(driven.source.asked) == {"snapshot"} | read

    drive(steps)


def test_q_leaves():
    async def steps(driven):
        await driven.pilot.press("q")

    assert drive(steps) is Outcome.LEFT


def test_q_asks_where_the_fleet_can_be_stopped():
    async def steps(driven):
        await driven.press("q")
        assert "s stop the fleet" in driven.lines[-1]
        await driven.press("escape")
        assert "q leave" in driven.lines[-1]
        await driven.pilot.press("q", "s")

    assert drive(steps, may=May(stop=True)) is Outcome.STOPPED


def test_a_restart_is_confirmed_and_told():
    async def steps(driven):
        await driven.press("down", "r")
        assert "restart gpu1?" in driven.lines[-1]
        assert driven.source.restarted == []
        await driven.press("y")
        await until(driven, lambda: "gpu1 was restarted" in driven.lines[-1])
        assert driven.source.restarted == ["gpu1"]

    drive(steps)


def test_a_drain_and_its_end_are_confirmed_and_told():
    async def steps(driven):
        await driven.press("down", "d")
        assert "give gpu1 no new requests?" in driven.lines[-1]
        await driven.press("y")
        await until(driven, lambda: "gpu1 is given no new requests" in driven.lines[-1])
        await driven.press("d", "u")
        await until(driven, lambda: "gpu1 is given requests again" in driven.lines[-1])
        assert driven.source.drains == [("drain", "gpu1"), ("undrain", "gpu1")]

    drive(steps)


def test_a_restart_that_is_refused_says_why():
    async def steps(driven):
        driven.source.refuses = "someone else runs it"
        await driven.press("r", "y")
        await until(driven, lambda: "someone else runs it" in driven.lines[-1])

    drive(steps)


def test_who_may_only_read_has_no_key_for_a_restart():
    async def steps(driven):
        assert "restart" not in driven.lines[-1]
        assert "drain" not in driven.lines[-1]
        await driven.press("r")
        assert driven.lines[-1].startswith("read-only")
        await driven.press("y")
        assert driven.source.restarted == []

    drive(steps, may=May(change=False))


def test_a_filter_is_typed_on_the_screen():
    async def steps(driven):
        await driven.press("/", *"gpu2", "enter")
        assert "gpu2" in driven.text
        assert "gpu1 " not in driven.text
        assert "/gpu2" in driven.lines[2]
        await driven.press("escape")
        assert "gpu1 " in driven.text

    drive(steps)


def test_a_sort_is_marked_and_changes_the_order():
    async def steps(driven):
        await driven.press("2", "s")
        assert "AGE▾" in driven.text
        await driven.press("s")
        assert "STAGE▾" in driven.text
        stages = [line.split()[1] for line in driven.lines[4:16]]
        assert stages == sorted(stages)

    drive(steps)


def test_space_holds_the_screen_still():
    async def steps(driven):
        await driven.press("space")
        driven.source.made = replace(
            scene(4), snapshot=replace(scene(4).snapshot, strategy="other")
        )
        await driven.look()
        assert "PAUSED" in driven.text
        assert "other" not in driven.text
        await driven.press("space")
        assert "other" in driven.text

    drive(steps)


def test_a_fleet_that_goes_away_is_told_and_waited_for():
    async def steps(driven):
        driven.source.away = True
        await driven.look()
        assert "waiting for it: no fleet is running" in driven.text
        driven.source.away = False
        await driven.look()
        assert "waiting for it" not in driven.text

    drive(steps)


def test_keys_act_while_a_fleet_takes_long_to_answer_and_it_is_asked_one_thing_at_a_time():
    async def steps(driven):
        answers, asking, most = threading.Event(), 0, 0
        snapshot = driven.source.snapshot

        def slow():
            nonlocal asking, most
            asking += 1
            most = max(most, asking)
            answers.wait(30)
            asking -= 1
            return snapshot()

        driven.source.snapshot = slow
        try:
            for tab in (Tab.REQUESTS, Tab.EVENTS, Tab.MODELS):
                await driven.pilot.press(str(tab.value))
                await until(driven, lambda tab=tab: driven.app.controls.tab is tab)
            await until(driven, lambda: "LOADED" in driven.text)
        finally:
            answers.set()
        await driven.look()
        assert most == 1

    drive(steps)


def test_the_screen_follows_its_size():
    async def steps(driven):
        for width, height in ((200, 60), (40, 10), (137, 33), (80, 24)):
            await driven.pilot.resize_terminal(width, height)
            await driven.look()
            assert len(driven.lines) == height
            assert cell_len(driven.lines[2]) in range(width - 4, width + 1)
            assert driven.lines[-1].startswith("q leave")

    drive(steps)


def test_a_mouse_opens_views_chooses_rows_and_scrolls():
    async def steps(driven):
        await driven.pilot.click(offset=(driven.lines[2].index("requests"), 2))
        await driven.look()
        assert "STAGE" in driven.text
        row = next(n for n, line in enumerate(driven.lines) if " gpu2 " in line)
        await driven.pilot.click(offset=(5, row))
        assert driven.app.controls.chosen == "request-02"
        await driven.pilot.click(offset=(5, row))
        assert "request-02" in driven.text

    drive(steps)


def test_without_colour_nothing_is_in_one():
    async def steps(driven):
        for strip in driven.app.screen._compositor.render_strips():
            for segment in (s for part in [strip] for s in part):
                style = segment.style
                assert style is None or style.color is None or style.color.is_default

    drive(steps, colour=False)


def test_only_the_cells_that_change_are_drawn_anew():
    async def steps(driven):
        await pass_a_second(driven)
        drawn = []
        for tile in driven.app._tiles._tiles:
            tile.refresh = lambda *regions: drawn.extend(regions)
        await pass_a_second(driven)
        (region,) = drawn
        assert region.y == 0, "only how long the fleet has been up"
        assert region.width < 80

    drive(steps)


async def pass_a_second(driven):
    made = driven.source.made
    later = replace(made.snapshot, now_s=made.snapshot.now_s + 1)
    driven.source.made = replace(made, snapshot=later)
    await driven.look()


def test_a_bug_ends_it_and_is_not_swallowed():
    async def steps(driven):
        driven.source.snapshot = lambda: 1 / 0
        await driven.look()

    with pytest.raises(ZeroDivisionError):
        drive(steps)


async def until(driven, holds):
    for _ in range(1000):
        if holds():
            return
        await driven.pilot.pause(0.01)
    pytest.fail(driven.text)
