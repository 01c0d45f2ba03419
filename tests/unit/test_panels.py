"""The screen from a snapshot: what it says, and that it fits whatever comes."""

import io
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console
from rich.text import Text
from snapshot_fixtures import EXPIRES, EXPIRES_UNIX_S, GIB, fleet, gpu, instance, row

from ollama_fleet.errors import FleetError
from ollama_fleet.state import Health, Phase, Pull
from ollama_fleet.tui.dashboard import glyphs_for
from ollama_fleet.tui.panels import ASCII, UNICODE, Mode, Tab, View, page, screen
from ollama_fleet.tui.panels.models import time_to_unload
from ollama_fleet.tui.panels.text import count, field, gibibytes, joined
from ollama_fleet.tui.rates import Rates, follow
from ollama_fleet.tui.scene import Scene
from ollama_fleet.tui.snapshots import decode

NOW = EXPIRES_UNIX_S - 30 * 60
TITLES = [
    "NAME", "GPU", "UTIL", "VRAM", "STATE", "BUSY", "WAIT", "TOK/S", "TTFT", "P95", "REQS", "FAIL",
    "RUNS",
]  # fmt: skip
LOW = 8  # lines in which there is no room for a table of the GPUs


def view(width=80, height=24, **changes):
    return replace(View(width=width, height=height, now_unix_s=NOW), **changes)


def shown(snapshot, seen=None):
    """The lines of a screen, or of a page where the view has no height."""
    seen, scene = seen or view(), Scene(snapshot)
    lines = page(scene, seen).renderables if seen.height is None else screen(scene, seen).lines
    return [line.plain.rstrip() for line in lines]


def line_of(name, lines):
    return next(line for line in lines if line.split()[:1] == [name])


# -- it fits ---------------------------------------------------------------------------------------

wild = st.text(
    st.one_of(st.characters(), st.sampled_from("\x1b[]0;m\x07\r\n\t\u202e\u200b[red]漢字🎉")),
    max_size=60,
)
instances = st.builds(
    lambda index, phase, health, cause, name, numbers, gpus, models: instance(
        index,
        name=name or "x",
        phase=phase,
        health=health,
        cause=cause,
        in_flight=numbers,
        waiting=numbers,
        requests=numbers,
        failures=numbers,
        starts=numbers,
        gpus=tuple(f"GPU-{n}" for n in gpus),
        resident=tuple(row(m, in_vram=numbers % 101) for m in models),
    ),
    st.integers(0, 20),
    st.sampled_from(Phase),
    st.sampled_from(Health),
    wild,
    wild,
    st.integers(0, 10**13),
    st.sets(st.integers(0, 20), max_size=8),
    st.lists(wild, max_size=4),
)
fleets = st.builds(
    lambda some, pulls, notes, error, strategy: fleet(
        *some,
        gpus=tuple(gpu(n, memory_used_bytes=None if n % 5 == 4 else n * GIB) for n in range(20)),
        pulls=tuple(Pull(p, p, p, len(p), 3 * len(p)) for p in pulls),
        notes=tuple(notes),
        gpu_error=error,
        strategy=strategy,
    ),
    st.lists(instances, max_size=20),
    st.lists(wild, max_size=6),
    st.lists(wild, max_size=3),
    wild,
    wild,
)
views = st.builds(
    lambda width, height, tab, mode, glyphs, words, paused: view(
        width, height, tab=tab, mode=mode, glyphs=glyphs, away=words, words=words, paused=paused
    ),
    st.integers(10, 250),
    st.integers(2, 70),
    st.sampled_from(Tab),
    st.sampled_from(Mode),
    st.sampled_from([UNICODE, ASCII]),
    wild,
    st.booleans(),
)


@settings(max_examples=40)  # a whole screen each
@given(fleets, views)
def test_a_screen_is_as_high_as_it_must_be_and_no_line_is_wider(snapshot, seen):
    lines = shown(snapshot, seen)
    assert len(lines) == seen.height
    assert all(cell_len(line) <= seen.width for line in lines)


@settings(max_examples=40)  # a whole screen each
@given(fleets, views)
def test_nothing_from_outside_steers_the_terminal(snapshot, seen):
    """Whatever models, causes and notes are called: printable text, no line ends, no escapes."""
    text = "".join(shown(snapshot, seen))
    assert text.isprintable()
    assert not seen.glyphs.ascii_only or text.isascii()


def test_markup_and_escapes_in_names_are_neither_obeyed_nor_left_in_pieces():
    bad = instance(0, resident=(row("[red]evil[/red]:\x1b[31mred\x1b[0m\x1b]0;title\x07 :boom:"),))
    out = io.StringIO()
    Console(file=out, width=120, color_system=None).print(page(Scene(fleet(bad)), view(120, None)))
    assert "[red]evil[/red]:red :boom:" in out.getvalue()
    assert "\x1b" not in out.getvalue()


@pytest.mark.parametrize("number", [1, 4, 16])
@pytest.mark.parametrize("size", [(80, 24), (200, 60)])
def test_every_instance_and_every_figure_is_on_the_screen(number, size):
    lines = shown(fleet(number), view(*size))
    said = " ".join(lines).split()
    for title in ("UTIL", "VRAM", *TITLES[4:9], "FAIL"):
        assert title in said
    for index in range(number):
        assert f"{index}" in line_of(f"gpu{index}", lines).split()
    assert lines[-1].startswith("q leave  space pause  ? help")


def test_where_a_terminal_is_narrow_the_least_columns_go_first():
    widths = (110, 80, 60, 40, 20)
    titles = [shown(fleet(1), view(width, LOW))[3].split() for width in widths]
    assert titles == [
        TITLES,
        [t for t in TITLES if t not in ("P95", "RUNS")],
        TITLES[:9],
        TITLES[:3] + TITLES[4:7],
        ["NAME", "STATE", "BUSY"],
    ]


def test_instances_that_do_not_fit_are_counted_with_those_in_trouble():
    some = [instance(n, phase=Phase.FAILED if n > 13 else Phase.READY) for n in range(16)]
    lines = shown(fleet(*some), view(80, 12))
    assert "… 10 more, 2 of them not ready" in lines
    assert len([line for line in lines if line.startswith("gpu")]) == 6


def test_one_instance_too_many_costs_its_own_line_not_another_screen():
    room = 24 - 3 - 1 - 1  # the head, the rule and the titles; the keys
    assert not any("… " in line for line in shown(fleet(room)))
    assert any("… 2 more" in line for line in shown(fleet(room + 1)))


# -- what it says ----------------------------------------------------------------------------------


def test_a_row_tells_load_memory_and_counts():
    one = instance(0, in_flight=3, waiting=7, requests=12_345, failures=2, starts=4)
    cells = line_of("gpu0", shown(fleet(one), view(80, LOW))).split()
    assert " ".join(cells[1:]) == "0 █░░░░ 25% █░░░░ 3.0/12.0G ready 3/4 7 - - 12.3k 2"


def test_an_instance_over_several_gpus_shows_their_sum_and_mean():
    both = instance(0, gpus=("GPU-0", "GPU-1", "GPU-3"))
    gpus = (
        gpu(0, utilisation_ratio=0.0),
        gpu(1, utilisation_ratio=1.0),
        gpu(3, utilisation_ratio=None),
    )
    cells = line_of("gpu0", shown(fleet(both, gpus=gpus), view(80, LOW))).split()
    assert cells[1] == "0-1,3"
    assert cells[3] == "50%"
    assert cells[5] == "9.0/36.0G"


def test_what_is_not_known_is_a_dash():
    silent = gpu(0, utilisation_ratio=None, memory_used_bytes=None)
    cells = line_of("gpu0", shown(fleet(instance(0), gpus=(silent,)), view(80, LOW))).split()
    assert cells[2:4] == ["-", "-"]
    assert cells[7] == "-"  # tokens per second, after one snapshot only


def test_instances_without_gpus_say_whose_they_are():
    some = instance(0, gpus=()), instance(1, gpus=(), external=True)
    lines = shown(fleet(*some, gpus=()))
    assert line_of("gpu0", lines).split()[1] == "cpu"
    assert line_of("gpu1", lines).split()[1] == "ext"


@pytest.mark.parametrize("width", [80, 200])
def test_an_instance_that_does_not_serve_says_why(width):
    failed = instance(0, phase=Phase.FAILED, cause="no such binary", resident=())
    ailing = instance(1, health=Health.UNHEALTHY, cause="3 probes failed")
    lines = shown(fleet(failed, ailing, instance(2)), view(width))
    text = "\n".join(lines)
    assert line_of("gpu0", lines).split().count("failed") == 1
    assert line_of("gpu1", lines).split().count("unhealthy") == 1
    assert "no such binary" in text
    assert "3 probes failed" in text


@pytest.mark.parametrize("width", [80, 200])
def test_an_instance_that_is_ejected_says_so_and_why(width):
    out = instance(0, ejected="answered 500", ejected_s=5.0)
    lines = shown(fleet(out, instance(1)), view(width))
    assert line_of("gpu0", lines).split().count("ejected") == 1
    assert "ejected" not in line_of("gpu1", lines)
    assert "ejected: answered 500" in "\n".join(lines)


def test_a_cause_keeps_its_line_where_models_lose_theirs():
    some = [instance(n) for n in range(13)]
    some.append(instance(13, phase=Phase.BACKOFF, cause="exit code 7"))
    lines = shown(fleet(*some), view(80, 24))
    assert lines[lines.index(line_of("gpu13", lines)) + 1].strip() == "exit code 7"
    assert not any("llama3.1:8b" in line for line in lines)


def test_resident_models_tell_when_they_go_and_where_they_run():
    rows = (
        row("a:1b"),
        row("b:latest", expires="2319-01-01T00:00:00Z"),
        row("c:1b", in_vram=60, expires="2001-01-01T00:00:00Z"),
        row("d:1b", in_vram=0, expires="soon"),
    )
    lines = shown(fleet(instance(0, resident=rows)))
    said = "  a:1b <0.1G 30m · b <0.1G ∞ · c:1b <0.1G 60% GPU · d:1b <0.1G on CPU"
    assert said in lines


def test_resident_models_tell_what_they_take():
    large = {**row("a:1b"), "size": 40 * 2**30, "size_vram": 40 * 2**30}
    assert "  a:1b 40.0G 30m" in shown(fleet(instance(0, resident=(large,))))


def test_a_model_on_its_way_into_memory_is_told_beside_those_that_are_there():
    coming = instance(0, loading=("b:latest", "c:1b"), reloading=("c:1b",), resident=(row("a:1b"),))
    lines = shown(fleet(coming, instance(1)))
    assert "  reloading c:1b · loading b · a:1b <0.1G 30m" in lines


def test_busy_is_said_of_the_slots_of_all_models_in_memory():
    """And of the slots of one where a fleet of another version does not tell."""
    lines = shown(fleet(instance(0, in_flight=5, places=8), instance(1, in_flight=2)))
    assert "5/8" in line_of("gpu0", lines).split()
    assert "2/4" in line_of("gpu1", lines).split()


@pytest.mark.parametrize(
    ("before_s", "said"),
    [(5.5, "5s"), (60.5, "1m"), (3599, "59m"), (3700, "1h01m"), (0, ""), (-60, "")],
)
def test_the_time_to_unload_does_not_flicker(before_s, said):
    assert time_to_unload(EXPIRES, EXPIRES_UNIX_S - before_s, UNICODE) == said


def test_the_header_sums_up():
    some = instance(0, failures=1), instance(1, phase=Phase.STARTING), instance(2)
    title, figures = shown(fleet(*some, waiting=5, simulated=True, stopping=True))[:2]
    said = "Ollama Fleet 127.0.0.1:11434 least_conn SIMULATED STOPPING up 13m20s"
    assert " ".join(title.split()) == said
    assert figures.rstrip().split(" · ") == [
        "2/3 ready", "6 in flight", "5 waiting", "- tokens/s", "1 failed", "30 requests"
    ]  # fmt: skip


def test_a_narrow_header_leaves_figures_out_whole():
    figures = shown(fleet(2), view(40))[1]
    assert figures.rstrip() == "2/2 ready · 4 in flight · 0 waiting"


def test_troubles_of_the_whole_fleet_have_a_line():
    assert shown(fleet(1, gpu_error="driver hangs"))[2] == "GPUs cannot be read: driver hangs"
    away = view(away="no fleet is running", away_s=12)
    said = "no answer from the fleet for 12s, waiting for it: no fleet is running"
    assert shown(fleet(1, gpu_error="driver hangs"), away)[2] == said


def test_pulls_have_a_bar_and_the_sixth_is_counted():
    half = Pull("qwen3:8b", "gpu1", "9f3c", GIB, 2 * GIB)
    early = Pull("tiny", "gpu0", "pulling manifest", 0, 0)
    lines = shown(fleet(1, pulls=(half, early, half, half, half, half)))
    bar = "█" * 10 + "░" * 10
    assert f"pull qwen3:8b → gpu1  {bar}  50%  1.0 GiB of 2.0 GiB  9f3c" in lines
    assert "pull tiny → gpu0  pulling manifest" in lines
    assert "… 2 more pulls" in lines


def test_notes_are_said_once_and_give_way_to_instances():
    notes = ("no NVIDIA driver", "no NVIDIA driver")
    assert shown(fleet(1, notes=notes)).count("no NVIDIA driver") == 1
    assert "no NVIDIA driver" not in shown(fleet(16, notes=notes), view(80, 20))


def test_cards_that_are_divided_otherwise_are_noted_before_what_was_noted_at_the_start():
    lines = shown(fleet(1, notes=("no AMD card",), gpu_changes=("GPU 0 is in MIG mode",)))
    assert lines.index("GPU 0 is in MIG mode") + 1 == lines.index("no AMD card")


def test_a_page_has_no_keys_and_cuts_nothing():
    lines = shown(fleet(30), view(80, None))
    assert len([line for line in lines if line.startswith("gpu")]) == 30
    assert not any("leave" in line for line in lines)


def test_without_colour_states_are_still_words_and_bars_still_shapes():
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=True, no_color=True)
    console.print(page(Scene(fleet(instance(0, phase=Phase.FAILED, cause="x"))), view(80, None)))
    text = out.getvalue()
    assert "failed" in text
    assert "█" in text
    assert not any(f"\x1b[{colour}m" in text for colour in range(30, 50))


def test_help_explains_every_column_and_state():
    text = "\n".join(shown(fleet(1), view(80, 24, mode=Mode.HELP)))
    for title in TITLES[1:]:
        assert title in text
    for state in (*(phase.value for phase in Phase), "unhealthy", "drained", "ejected"):
        assert state in text


# -- parts -----------------------------------------------------------------------------------------


def plain(pieces):
    return joined(pieces).plain


styles = st.sampled_from(["", "bold", "dim green"])


@given(st.lists(st.tuples(wild.map(UNICODE.clean), styles), max_size=5))
def test_pieces_make_the_line_that_they_make_one_by_one(pieces):
    assert joined(pieces) == Text.assemble(
        *((text, style or None) for text, style in pieces if text)
    )


@given(
    st.lists(st.tuples(wild.map(UNICODE.clean), styles), max_size=4),
    st.integers(0, 40),
    st.booleans(),
)
def test_a_field_is_as_wide_as_it_is_to_be(pieces, width, at_right):
    """And begins or ends with what is in it, as much of that as fits."""
    whole, shown = plain(pieces), plain(field(pieces, width, at_right=at_right))
    assert cell_len(shown) == width
    blanks = " " * (width - cell_len(whole))
    if cell_len(whole) <= width:
        assert shown == (blanks + whole if at_right else whole + blanks)


@given(st.floats(-0.5, 1.5), st.floats(-0.5, 1.5), st.integers(1, 40))
def test_a_bar_grows_with_what_it_shows(a, b, width):
    low, high = sorted((a, b))
    for glyphs in (UNICODE, ASCII):
        few, many = (plain(glyphs.bar(ratio, width, "")) for ratio in (low, high))
        assert len(few) == len(many) == width
        assert few.count(glyphs.track) >= many.count(glyphs.track)


def test_only_all_is_a_full_bar_and_only_nothing_an_empty_one():
    assert plain(UNICODE.bar(0.999, 10, "")) == "█████████▌"
    assert plain(UNICODE.bar(0.001, 10, "")) == "▌░░░░░░░░░"
    assert plain(UNICODE.bar(1.0, 3, "")) == "███"
    assert plain(ASCII.bar(0.0, 3, "")) == "..."


@given(wild, st.integers(0, 40))
def test_a_text_that_is_cut_shows_it(text, width):
    clean = UNICODE.clean(text)
    fitted = UNICODE.fit(clean, width)
    assert cell_len(fitted) <= width
    assert fitted == clean or fitted.endswith(UNICODE.more) or width <= 1


@given(st.integers(0, 10**14))
def test_a_count_takes_five_cells_at_most(number):
    assert len(count(number)) <= 5


def test_counts_and_sizes_read_well():
    assert [count(n) for n in (0, 9_999, 12_345, 999_949, 4_100_000, 10**12)] == [
        "0", "9999", "12.3k", "1.0M", "4.1M", "1.0T"
    ]  # fmt: skip
    assert gibibytes(int(9.1 * GIB), int(11.2 * GIB)) == "9.1/11.2G"
    assert gibibytes(142 * GIB, 640 * GIB) == "142/640G"


@pytest.mark.parametrize(
    ("encoding", "glyphs"),
    [("utf-8", UNICODE), ("UTF8", UNICODE), ("ascii", ASCII), ("latin-1", ASCII)],
)
def test_bars_are_drawn_with_what_the_encoding_has(encoding, glyphs):
    assert glyphs_for(encoding) is glyphs


# -- rates -----------------------------------------------------------------------------------------


def at(now_s, *tokens, started_s=200.0):
    some = (instance(n, tokens=t) for n, t in enumerate(tokens))
    return fleet(*some, now_s=now_s, started_s=started_s)


def rates_of(*snapshots):
    rates = Rates()
    for snapshot in snapshots:
        rates = follow(rates, snapshot)
    return rates


@given(st.floats(0, 5000), st.lists(st.floats(0.1, 1.0), min_size=1, max_size=20))
def test_an_even_flow_has_its_rate_however_it_is_sampled(rate_per_s, steps_s):
    now_s, snapshots = 1000.0, [at(1000.0, 0)]
    for step_s in steps_s:
        now_s += step_s
        snapshots.append(at(now_s, rate_per_s * (now_s - 1000.0)))
    assert rates_of(*snapshots).of("gpu0") == pytest.approx(rate_per_s, rel=1e-6, abs=1e-6)


def test_a_rate_forgets_what_is_older_than_the_window():
    burst = [at(1000.0, 0), at(1001.0, 9000), *(at(1001.0 + s, 9000) for s in (1, 2, 3))]
    assert rates_of(*burst[:2]).of("gpu0") == 9000
    assert rates_of(*burst).of("gpu0") == 0


def test_the_total_is_the_sum_over_instances():
    rates = rates_of(at(1000.0, 0, 50), at(1002.0, 100, 250))
    assert (rates.of("gpu0"), rates.of("gpu1"), rates.total) == (50, 100, 150)
    assert rates.of("unknown") is None


def test_one_snapshot_has_no_rate_nor_have_two_of_one_moment():
    assert Rates().total is None
    assert rates_of(at(1000.0, 5)).of("gpu0") is None
    assert rates_of(at(1000.0, 5), at(1000.0, 9)).total is None


def test_a_fleet_that_was_started_anew_has_no_negative_rate():
    rates = rates_of(at(1000.0, 500), at(1001.0, 10, started_s=1000.5))
    assert rates.of("gpu0") is None
    assert rates_of(at(1000.0, 500), at(1001.0, 10)).of("gpu0") == 0


def test_an_instance_that_joins_counts_once_it_was_seen_twice():
    rates = rates_of(at(1000.0, 0), at(1001.0, 10, 5000))
    assert rates.of("gpu1") is None
    assert rates.total == 10


# -- decoding --------------------------------------------------------------------------------------


def test_a_snapshot_survives_the_control_api_and_new_fields_are_passed_over():
    snapshot = fleet(2, pulls=(Pull("m", "gpu0", "s", 1, 2),), notes=("n",))
    document = msgspec.to_builtins(snapshot) | {"moods": ["good"]}
    assert decode(msgspec.json.encode(document)) == snapshot


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'{"now_s": "soon"}', b"\xff"])
def test_what_is_no_snapshot_is_an_error_with_a_way_out(body):
    with pytest.raises(FleetError) as raised:
        decode(body)
    assert "another version" in raised.value.hint
