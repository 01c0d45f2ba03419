"""Tables: aligned, a row a line, and safe to look at whatever is in them."""

import re

from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.cli.table import Column, clean, printable, table

COLUMNS = (Column("NAME"), Column("COUNT", number=True), Column("PHASE", colours={"ok": "green"}))
WORDS = st.text(st.characters(codec="ascii", exclude_categories=["C", "Z"]), min_size=1)


@given(st.lists(st.tuples(st.text(), st.integers(), st.text())))
def test_a_row_is_a_line_and_obeys_nobody(rows):
    """Whatever the values, there is a line per row, and none holds a control character."""
    lines = table((Column("A"), Column("B", number=True), Column("C")), rows).split("\n")
    assert len(lines) == len(rows) + 1
    assert all(line.isprintable() for line in lines)


@given(st.lists(st.tuples(WORDS, st.integers(0, 10**9), WORDS), min_size=1))
def test_columns_are_aligned_and_can_be_taken_apart(rows):
    """Words come back by splitting at blanks; numbers end, and words begin, in one column."""
    lines = table((*COLUMNS[:2], Column("PHASE")), rows).splitlines()
    assert [tuple(line.split()) for line in lines[1:]] == [(a, str(b), c) for a, b, c in rows]
    ends = {re.match(r"\S+ +\S+", line).end() for line in lines}
    assert len(ends) == 1


def test_an_empty_value_is_a_dash():
    """No cell is blank, so that columns can be counted."""
    assert table(COLUMNS, [("a", 0, "")]).splitlines()[1].split() == ["a", "0", "-"]


def test_colours_do_not_move_columns():
    """A coloured value takes the room of its text."""
    painted = table(COLUMNS, [("a", 1, "ok"), ("b", 2, "bad")])
    assert "\x1b[32mok" in painted
    assert re.sub(r"\x1b\[\d+m", "", painted).splitlines()[1].split() == ["a", "1", "ok"]


def test_wide_characters_take_two_places():
    """A name in Chinese does not push what follows out of its column."""
    lines = table((Column("N"), Column("X")), [("模型", "x"), ("abcd", "x")]).splitlines()
    assert [line.index("x") for line in lines[1:]] == [4, 6]  # in characters; both the sixth place


@given(st.text())
def test_cleaning_is_done_once(text):
    """What was cleaned is printable and stays as it is."""
    assert printable(text).isprintable()
    assert clean(clean(text)) == clean(text)


def test_sequences_that_drive_a_terminal_vanish_whole():
    """Nothing of a colour, a title or a cursor movement is left behind."""
    assert clean("\x1b[31mred\x1b[0m \x1b]0;title\x07x\x1b[2Jy\r\n") == "red xy"
