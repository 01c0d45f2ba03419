"""What the dashboard reads of a fleet with each look, and how often."""

from collections import Counter

import pytest
from scene_fixtures import scene

from ollama_fleet.state import Live
from ollama_fleet.tui.panels import Tab
from ollama_fleet.tui.scene import Scene
from ollama_fleet.tui.watch import Watch

SNAPSHOT = scene(1).snapshot


class Source:
    """Counts what it is asked for."""

    def __init__(self):
        self.asked = Counter()

    def snapshot(self):
        self.asked["snapshot"] += 1
        return SNAPSHOT

    def live(self, _limit):
        self.asked["live"] += 1
        return Live(0)

    def decisions(self, _limit):
        self.asked["decisions"] += 1
        return ()


@pytest.mark.parametrize(
    ("tab", "asked"),
    [
        (Tab.OVERVIEW, {"live": 40}),
        (Tab.REQUESTS, {"live": 20}),
        (Tab.DECISIONS, {"decisions": 10}),
        (Tab.MODELS, {}),
    ],
)
def test_a_view_of_which_all_lines_move_is_read_less_often(tab, asked):
    """In twenty seconds of two looks each; over a slow line a full screen is 12 kB."""
    source = Source()
    watch = Watch(source, Scene(SNAPSHOT), str)
    for half_seconds in range(40):
        watch.look(tab, half_seconds / 2)
    assert source.asked == {"snapshot": 40, **asked}


def test_a_view_that_is_opened_is_read_at_once():
    source = Source()
    watch = Watch(source, Scene(SNAPSHOT), str)
    for tab in (Tab.DECISIONS, Tab.REQUESTS, Tab.DECISIONS):
        watch.look(tab, 1.0)
    assert (source.asked["decisions"], source.asked["live"]) == (2, 1)
