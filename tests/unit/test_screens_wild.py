"""Whatever names, lines and figures a fleet tells, none of them steers the terminal."""

import dataclasses
from enum import Enum

import pytest
from rich.cells import cell_len
from scene_fixtures import NOW_UNIX_S, scene

from ollama_fleet.tui.panels import ASCII, UNICODE, Mode, Tab, View, screen
from ollama_fleet.tui.panels.fields import fields

WILD = "\x1b[31m\x1b]0;title\x07é漢\u202e\x9b31m\r\n\t\x00x"
OURS = ("name", "size", "size_vram", "expires_at", "uuid")  # keys and times that code looks for


def wild(value, field=""):
    """The same with every text made wild, but for those that are looked up."""
    if isinstance(value, Enum) or field in ("expires_at", "uuid"):
        return value
    if isinstance(value, str):
        return value + WILD
    if isinstance(value, tuple):
        return tuple(wild(each) for each in value)
    if isinstance(value, dict):
        return {k if k in OURS else wild(k): wild(v, k) for k, v in value.items()}
    if dataclasses.is_dataclass(value):
        names = [f.name for f in dataclasses.fields(value)]
        return dataclasses.replace(value, **{n: wild(getattr(value, n), n) for n in names})
    return value


MADE = scene(4)  # the lines of a log come clean: Watch sees to it
HOSTILE = dataclasses.replace(wild(dataclasses.replace(MADE, lines=())), lines=MADE.lines)


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII], ids=["unicode", "ascii"])
@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("tab", Tab)
def test_nothing_from_outside_steers_the_terminal_in_any_view(tab, mode, glyphs):
    for width in (1, 20, 80, 200):
        seen = View(
            width, 40, NOW_UNIX_S, glyphs, tab=tab, mode=mode, notice=WILD, subject=WILD, words="x"
        )
        for chosen in ("", *screen(HOSTILE, seen).body.keys[:3]):
            found = screen(HOSTILE, dataclasses.replace(seen, chosen=chosen))
            for line in found.lines:
                assert line.plain.isprintable()
                assert cell_len(line.plain) <= width
                assert line.plain.isascii() or not glyphs.ascii_only


def test_a_name_that_is_longer_than_its_field_does_not_run_into_its_text():
    lines = fields([("temperature_c", "91.0"), ("event", "gpu_hot")], View(80, 24, NOW_UNIX_S))
    assert [line.plain for line in lines] == ["temperature_c 91.0", "event         gpu_hot"]


@pytest.mark.parametrize(
    ("out", "mark"),
    [({}, ""), ({"drain": "new fan"}, "!"), ({"ejected": "503", "ejected_s": 9.0}, "!")],
    ids=["in rotation", "drained", "ejected"],
)
def test_which_model_is_where_says_who_gets_no_requests(out, mark):
    """A model in its memory is of no use to anybody meanwhile."""
    first, *others = scene(2).snapshot.instances
    snapshot = dataclasses.replace(
        MADE.snapshot, instances=(dataclasses.replace(first, **out), *others)
    )
    made = dataclasses.replace(MADE, snapshot=snapshot)
    for sort in ("", "0"):
        seen = View(200, 60, NOW_UNIX_S, tab=Tab.MODELS, sort=sort)
        lines = [line.plain for line in screen(made, seen).lines]
        head = next(line for line in lines if line.startswith("MODEL"))
        assert head.split()[2].removesuffix(UNICODE.sorted) == f"0{mark}"
        assert any(line.startswith("!: out; ") for line in lines) == bool(mark)


def test_a_model_that_is_reloading_says_so_where_its_memory_is_shown():
    """Not its old weights: they get no requests."""
    first, *others = MADE.snapshot.instances
    first = dataclasses.replace(first, reloading=("qwen3:8b",))
    snapshot = dataclasses.replace(MADE.snapshot, instances=(first, *others))
    made = dataclasses.replace(MADE, snapshot=snapshot)

    def shown(**changes):
        return [line.plain for line in screen(made, View(200, 60, NOW_UNIX_S, **changes)).lines]

    overview = next(line for line in shown() if line.startswith("gpu0"))
    assert "reloading qwen3:8b" in overview
    assert overview.count("qwen3:8b") == 1
    matrix = next(line for line in shown(tab=Tab.MODELS) if line.startswith("qwen3:8b"))
    assert matrix.split().count("reload") == 1
    detail = shown(tab=Tab.MODELS, mode=Mode.DETAIL, chosen="qwen3:8b")
    assert any("gpu0" in line and "reloading: its weights" in line for line in detail)
