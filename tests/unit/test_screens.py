"""Every view as its reader sees it, character by character, from a made-up fleet.

FLEET_SCREENS=write writes the texts in screens/ anew: look at each before it is committed.
"""

import os
import time
from pathlib import Path

import pytest
from rich.cells import cell_len
from scene_fixtures import NOW_UNIX_S, scene
from snapshot_fixtures import fleet

from ollama_fleet.state import Live
from ollama_fleet.tui.panels import ASCII, UNICODE, Mode, Tab, View, page, screen
from ollama_fleet.tui.scene import Scene

SCREENS = Path(__file__).with_name("screens")
SIZES = ((80, 24), (200, 60))


@pytest.fixture(autouse=True)
def in_utc(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def view(width=80, height=24, **changes):
    return View(width, height, NOW_UNIX_S, **changes)


def text(made, seen):
    return "\n".join(line.plain.rstrip() for line in screen(made, seen).lines) + "\n"


def same_as(name, found):
    file = SCREENS / f"{name}.txt"
    if os.environ.get("FLEET_SCREENS") == "write":
        SCREENS.mkdir(exist_ok=True)
        file.write_text(found)
    assert found == file.read_text()


@pytest.mark.parametrize("number", [1, 16])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("tab", Tab)
def test_a_view_is_what_was_looked_at(tab, size, number):
    found = text(scene(number), view(*size, tab=tab))
    assert all(cell_len(line) <= size[0] for line in found.splitlines())
    same_as(f"{tab.label}-{number}-{size[0]}x{size[1]}", found)


@pytest.mark.parametrize("tab", Tab)
def test_all_of_a_row_is_what_was_looked_at(tab):
    made = scene(4)
    key = screen(made, view(tab=tab)).key
    same_as(f"{tab.label}-more", text(made, view(tab=tab, mode=Mode.DETAIL, chosen=key)))


def test_the_help_explains_every_key_and_fits_the_smallest_screen():
    found = text(scene(4), view(mode=Mode.HELP))
    for key in ("q, Ctrl-C", "1-6", "up down", "/ ", "s ", "r ", "d ", "space"):
        assert key in found
    same_as("help", found)


@pytest.mark.parametrize("tab", Tab)
def test_a_terminal_without_unicode_gets_ascii_only(tab):
    assert text(scene(16), view(tab=tab, glyphs=ASCII)).isascii()


@pytest.mark.parametrize("tab", Tab)
def test_a_view_with_nothing_to_show_says_so(tab):
    lines = text(Scene(fleet()), view(tab=tab)).splitlines()
    assert lines[3].startswith(("no ", "nothing ", "the fleet has no "))


@pytest.mark.parametrize("tab", Tab)
def test_a_filter_that_nothing_has_says_how_to_get_out_of_it(tab):
    assert "esc shows everything" in text(scene(4), view(tab=tab, words="nowhere"))


def test_a_filter_keeps_what_has_its_words_and_lacks_those_behind_a_mark():
    sheet = screen(scene(4), view(tab=Tab.REQUESTS, words="qwen !batch"))
    assert sheet.body.keys == ("request-00", "request-06")


@pytest.mark.parametrize(
    ("sort", "first"), [("", "request-00"), ("PROMPT", "request-11"), ("STAGE", "request-00")]
)
def test_rows_are_sorted_numbers_from_the_top_texts_from_a(sort, first):
    assert screen(scene(4), view(tab=Tab.REQUESTS, sort=sort)).body.keys[0] == first


def test_the_title_that_rows_are_sorted_by_is_marked():
    assert "TOKENS▾" in text(scene(4), view(tab=Tab.REQUESTS, sort="TOKENS"))
    assert "BUSY▾" in text(scene(4), view(sort="BUSY"))


@pytest.mark.parametrize("tab", [Tab.REQUESTS, Tab.LOGS, Tab.DECISIONS])
def test_the_chosen_row_is_on_the_screen_wherever_it_is(tab):
    made = scene(4, requests=50)
    for at in (0, 13, 49):
        sheet = screen(made, view(tab=tab, at=at, chosen=_key(made, tab, at)))
        assert sheet.key in sheet.body.rows.values()


def _key(made, tab, at):
    return screen(made, view(tab=tab)).body.keys[at]


def test_a_chosen_row_that_has_gone_leaves_the_choice_where_it_was():
    assert screen(scene(4), view(tab=Tab.REQUESTS, chosen="gone", at=3)).body.at == 3
    assert screen(scene(4), view(tab=Tab.REQUESTS, chosen="gone", at=99)).body.at == 11


def test_what_a_mouse_finds_is_what_is_there():
    sheet = screen(scene(4), view(tab=Tab.REQUESTS))
    lines = [line.plain for line in sheet.lines]
    y = next(n for n, line in enumerate(lines) if "request" not in line and " gpu1 " in line)
    assert sheet.row_at(y) == "request-01"
    assert sheet.row_at(0) == sheet.row_at(23) == ""
    for tab in Tab:
        assert sheet.tab_at(lines[2].index(tab.label), 2) is tab
    assert sheet.tab_at(79, 2) is None
    assert sheet.tab_at(2, 3) is None


def test_a_page_shows_all_rows_of_the_view_that_is_asked_for():
    lines = page(scene(4, requests=50), View(80, None, NOW_UNIX_S, tab=Tab.REQUESTS)).renderables
    assert len(lines) == 3 + 1 + 50


def test_no_requests_say_where_clients_find_the_fleet():
    empty = Scene(scene(1).snapshot, live=Live(0))
    assert "http://127.0.0.1:11434" in text(empty, view(tab=Tab.REQUESTS))


def test_a_bar_and_its_figure_say_the_same_in_both_alphabets():
    for glyphs in (UNICODE, ASCII):
        assert " 25% " in text(scene(16), view(200, 60, glyphs=glyphs))
