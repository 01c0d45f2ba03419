"""What each key of the dashboard does, as a decision: nothing is drawn and nobody is asked."""

import pytest
from scene_fixtures import NOW_UNIX_S, scene

from ollama_fleet.tui.keys import Act, Controls, May, Order, Outcome, choose, press, switch
from ollama_fleet.tui.panels import Mode, Tab, View, screen

MADE = scene(4, requests=30)


def seen(controls):
    """The screen that these controls show."""
    view = View(
        120,
        24,
        NOW_UNIX_S,
        tab=controls.tab,
        mode=controls.mode,
        words=controls.words,
        sort=controls.sort,
        chosen=controls.chosen,
        at=controls.at,
    )
    return screen(MADE, view)


def pressed(*keys, controls=None, stop=False, change=True):
    after = controls or Controls()
    for key in keys:
        after = press(after, key, seen(after), May(stop=stop, change=change))
        if not isinstance(after, Controls):
            break
    return after


@pytest.mark.parametrize(
    ("keys", "stop", "after"),
    [
        ("q", False, Outcome.LEFT),
        ("?q", False, Outcome.LEFT),
        ("q", True, Controls(mode=Mode.ASKING)),
        ("qd", True, Outcome.LEFT),
        ("qs", True, Outcome.STOPPED),
        ("qx?", True, Controls(mode=Mode.ASKING)),
        (("q", "escape"), True, Controls()),
        ("n", True, Controls()),
        ("?", False, Controls(mode=Mode.HELP)),
        ("??", False, Controls()),
        (("?", "escape"), False, Controls()),
        (" ", False, Controls(paused=True)),
        ("  ", False, Controls()),
        ("x", False, Controls()),
        ("3", False, Controls(tab=Tab.MODELS)),
        (" 3", False, Controls(tab=Tab.MODELS, paused=True)),
        (("ctrl+c",), False, Outcome.LEFT),
        (("ctrl+c",), True, Controls(mode=Mode.ASKING)),
        (("ctrl+c", "ctrl+c"), True, Outcome.LEFT),
    ],
)
def test_keys(keys, stop, after):
    assert pressed(*keys, stop=stop) == after


def test_nothing_but_s_after_q_ever_stops_the_fleet():
    keys = ["q", "d", "s", "r", "y", "n", "x", " ", "?", "/", "escape", "enter", "ctrl+c", "1"]
    stopping = {
        (first, second)
        for first in keys
        for second in keys
        if pressed(first, second, stop=True) is Outcome.STOPPED
    }
    assert stopping == {("q", "s"), ("ctrl+c", "s")}


def test_a_restart_is_of_the_chosen_instance_and_needs_a_yes():
    asked = pressed("down", "r")
    assert (asked.mode, asked.subject) == (Mode.CONFIRM, "gpu1")
    assert pressed("escape", controls=asked).mode is Mode.FLEET
    done = pressed("y", controls=asked)
    assert isinstance(done, Order)
    assert (done.act, done.instance) == (Act.RESTART, "gpu1")
    assert done.controls.mode is Mode.FLEET
    assert "gpu1 restarts" in done.controls.notice


def test_a_drain_is_of_the_chosen_instance_and_needs_a_yes_as_does_its_end():
    asked = pressed("down", "d")
    assert (asked.mode, asked.subject) == (Mode.DRAIN, "gpu1")
    assert pressed("escape", controls=asked).mode is Mode.FLEET
    for key, act in (("y", Act.DRAIN), ("u", Act.UNDRAIN)):
        done = pressed(key, controls=asked)
        assert isinstance(done, Order)
        assert (done.act, done.instance) == (act, "gpu1")
        assert done.controls.mode is Mode.FLEET


@pytest.mark.parametrize("asks", ["r", "d"])
def test_words_that_were_meant_for_something_else_are_no_answer(asks):
    """The first key that answers nothing ends the question, so that none behind it does."""
    after = pressed("down", asks, *"gpu by")
    assert isinstance(after, Controls)
    assert after.mode is Mode.FLEET


def test_a_row_of_another_view_stands_for_its_instance():
    assert pressed("2", "down", "down", "r").subject == "gpu2"
    assert pressed("5", "r").subject == "gpu0"
    nobodys = pressed("2", "down", "down", "down", "down", "r")
    assert nobodys.mode is Mode.FLEET
    assert "choose a row" in nobodys.notice


def test_who_may_only_read_restarts_nothing_and_is_told_why():
    after = pressed("r", change=False)
    assert after.mode is Mode.FLEET
    assert after.notice.startswith("read-only")
    assert pressed("x", controls=after).notice == ""
    assert pressed("d", change=False).notice == "read-only: nothing is drained from here"


def test_a_choice_sticks_to_its_row_when_rows_are_sorted_anew():
    chosen = pressed("2", "down", "down")
    assert chosen.chosen == "request-02"
    for _ in range(4):
        chosen = pressed("s", controls=chosen)
        assert seen(chosen).key == "request-02"


def test_sorting_goes_through_the_columns_that_are_shown_and_back_to_none():
    titles = seen(Controls(tab=Tab.REQUESTS)).body.titles
    sorts = [pressed("2", *"s" * n).sort for n in range(len(titles) + 2)]
    assert sorts == ["", *titles, ""]


def test_moving_ends_at_the_ends():
    assert pressed("2", "up").chosen == "request-00"
    assert pressed("2", "end").chosen == "request-29"
    assert pressed("2", "pagedown", "wheeldown", "wheelup", "pageup").chosen == "request-00"


def test_a_log_is_followed_until_a_line_is_chosen_and_again_from_its_end_on():
    assert pressed("4").chosen == ""
    up = pressed("4", "up")
    assert up.chosen == "58"
    assert pressed("end", controls=up).chosen == ""


def test_a_filter_is_typed_kept_and_dropped():
    typed = pressed("/", *"gpu2")
    assert (typed.mode, typed.words) == (Mode.FILTER, "gpu2")
    kept = pressed("enter", controls=typed)
    assert (kept.mode, kept.words) == (Mode.FLEET, "gpu2")
    assert seen(kept).body.keys == ["gpu2"]
    assert pressed("escape", controls=kept) == Controls()
    assert pressed("backspace", controls=typed).words == "gpu"
    assert pressed("escape", controls=typed).words == ""
    assert len(pressed("/", *"x" * 200).words) < 100


def test_while_a_filter_is_typed_no_letter_is_a_command():
    assert pressed("/", *"qrs1? ", stop=True).words == "qrs1? "


def test_enter_opens_the_chosen_row_and_esc_goes_back_to_it():
    opened = pressed("2", "down", "enter")
    assert (opened.mode, opened.chosen) == (Mode.DETAIL, "request-01")
    back = pressed("escape", controls=opened)
    assert (back.mode, back.chosen) == (Mode.FLEET, "request-01")
    assert pressed("6", controls=opened) == Controls(tab=Tab.EVENTS)


def test_a_click_chooses_and_a_second_one_opens():
    once = choose(Controls(), "gpu1")
    assert (once.chosen, once.mode) == ("gpu1", Mode.FLEET)
    assert choose(once, "gpu1").mode is Mode.DETAIL
    asking = Controls(mode=Mode.ASKING)
    assert choose(asking, "gpu1") == asking


def test_another_view_starts_as_it_is_and_the_same_one_stays():
    here = Controls(words="gpu", chosen="gpu1", paused=True)
    assert switch(here, Tab.OVERVIEW) == here
    assert switch(here, Tab.LOGS) == Controls(tab=Tab.LOGS, paused=True)
