"""What `fleet history`, `fleet explain` and `fleet usage` print, and how moments are written."""

import csv
import io
import re
import time
from datetime import datetime

import click
import msgspec
import pytest
from made_records import made

from ollama_fleet import cli
from ollama_fleet.cli.ended import as_csv, show_requests, show_usage
from ollama_fleet.cli.explaining import show_explanation
from ollama_fleet.cli.past import Moment, query
from ollama_fleet.errors import Exit
from ollama_fleet.history import Bounds, Ending, History, RequestRecord, Usage, explain

ADAPTIVE = ("load", "wait", "prefill", "decode", "others", "evict")


def documents(*records):
    return [msgspec.to_builtins(record) for record in records]


def explained(record, *others):
    told = msgspec.to_builtins(explain(record, others))
    return click.unstyle(show_explanation(told, block="#"))


def test_a_request_has_a_line_under_its_titles():
    shown = show_requests(documents(made(id="r1"), made(id="r2", energy_j=7_200.0)), wide=True)
    titles, first, second = click.unstyle(shown).splitlines()
    assert titles.split()[:5] == ["ARRIVED", "ID", "MODEL", "INSTANCE", "HOW"]
    assert re.search(r"r1 +Qwen3:8b +gpu0 +completed +200 +0\.5 +- +0\.75 +4\.75 +300 +20", first)
    assert first.endswith("-"), "its energy was not measured"
    assert second.endswith("2")


def test_a_name_that_a_client_wrote_commands_no_terminal():
    shown = show_requests(documents(made(model="x\x1b[2Jy\n")), wide=False)
    assert "\x1b" not in click.unstyle(shown)
    assert len(shown.splitlines()) == 2


def csv_of(*records):
    return as_csv(documents(*records), RequestRecord.__struct_fields__)


def test_csv_has_every_figure_and_no_scores():
    text = csv_of(made(id='a,"b"', tried=("gpu0", "gpu1")))
    (row,) = csv.DictReader(io.StringIO(text))
    assert row["id"] == 'a,"b"'
    assert row["tried"] == "gpu0 gpu1"
    assert float(row["total_s"]) == 4.75
    assert not {"scores", "terms"} & row.keys()


@pytest.mark.parametrize("start", ["=", "+", "-", "@", " =", "＝"])  # noqa: RUF001 - a wide one
def test_no_id_of_a_client_is_a_formula_in_a_spreadsheet(start):
    (row,) = csv.DictReader(io.StringIO(csv_of(made(id=f"{start}1+1", total_s=-1.0))))
    assert row["id"] == f"'{start}1+1"
    assert row["total_s"] == "-1.0", "a number is one"


def test_csv_that_a_terminal_shows_commands_it_nothing_and_keeps_its_lines():
    text = csv_of(made(model="x\x1b[2J\x9b2Jy\r\nz", error="a\t=1"))
    assert [line.isprintable() for line in text.split("\n")] == [True, True]


def test_totals_stand_behind_what_they_are_of():
    one = Usage(
        tenant="key:1",
        model="registry.ollama.ai/library/qwen3:8b",
        requests=3,
        errors=1,
        prompt_tokens=40,
        output_tokens=50,
        gpu_s=6.25,
        energy_wh=None,
        measured=0,
    )
    shown = show_usage([msgspec.to_builtins(one)], ("tenant", "model"))
    assert shown.splitlines()[1].split() == [
        "key:1",
        "qwen3:8b",
        "3",
        "1",
        "40",
        "50",
        "6.2",
        "-",
        "0",
    ]


def test_an_explanation_shows_the_verdict_the_seconds_and_what_others_would_have_cost():
    scores = (
        ("gpu1", (30.0, 0.0, 20.0, 5.0, 5.0, 0.0, 0.0)),
        ("gpu0", (12.0, 8.0, 0.0, 2.0, 2.0, 0.0, 0.0)),
    )
    cold = made(load_s=8.0, total_s=12.0, terms=ADAPTIVE, scores=scores, strategy="adaptive")
    shown = explained(cold, *(made(id=str(n), instance="gpu1") for n in range(3)))
    assert "verdict  cold load of Qwen3:8b on gpu0: 8.03 s of 12.0 s" in shown
    assert re.search(r"load +8\.030 s +67%  #{27} ", shown)
    assert "why there: adaptive, in seconds, lowest wins:" in shown
    assert re.search(r"gpu0 \* +12 +- +8 +0 ", shown)
    assert re.search(r"gpu1 +30 +\+18 +0 +20 ", shown)
    assert shown.index("gpu0 *") < shown.index("gpu1  "), "the best first"
    assert re.search(r"gpu1 +3 +1200 +5\.04 ", shown)


def test_what_was_tried_before_is_shown_with_why_it_failed():
    tried = made(tried=("gpu1", "gpu0"), failures=("ConnectFailed",), failed_s=4.0)
    assert "went to  gpu1 (ConnectFailed)  then gpu0" in explained(tried)


def test_of_a_request_that_was_refused_at_once_all_can_be_shown():
    refused = made(
        instance="", tried=(), attempts=0, scores=(), terms=(), status=503, total_s=0.0,
        queue_s=0.0, ending=Ending.REFUSED, error="QueueFull: 9 wait", inference=True,
    )  # fmt: skip
    shown = explained(refused)
    assert "went to  no instance" in shown
    assert "verdict  refused with 503: QueueFull: 9 wait" in shown


# -- moments, and files of fleets that are gone --------------------------------------------------


def test_a_moment_is_so_long_ago_or_a_date():
    at = Moment().convert
    before_s, found_s = time.time(), at("90m", None, None)
    assert before_s - 5_400 <= found_s <= time.time() - 5_400
    assert at("2026-11-21", None, None) == datetime(2026, 11, 21).astimezone().timestamp()
    assert at("2026-11-21T08:30+00:00", None, None) == 1_795_249_800
    for wrong in ("yesterday", "", "2026-13-01", "nan", "1e400", "0001-01-01"):
        with pytest.raises(click.BadParameter, match="neither a time ago"):
            at(wrong, None, None)


def test_only_what_was_said_is_asked():
    assert query(model="m", tenant=None, errors=True, slow=None, limit=5) == {
        "model": "m",
        "errors": 1,
        "limit": 5,
    }


@pytest.fixture
def left(tmp_path, monkeypatch):
    """What a fleet has left that is gone."""
    monkeypatch.setenv("FLEET_STATE_DIR", str(tmp_path))
    bounds = Bounds(max_requests=10**9, max_bytes=2**40, keep_s=1e9)
    history = History(tmp_path / "history.db", bounds, clock=lambda: 0.0, wall=lambda: 2_000.0)
    for n in range(3):
        history.add(made(id=f"r{n}", arrived_s=1_000.0 + n, total_s=float(n + 1), tenant="t"))
    history.close()


@pytest.mark.usefixtures("left")
def test_where_no_fleet_runs_its_file_is_read(capsys):
    assert cli.run(["history", "--slow", "2", "-o", "csv"]) == Exit.OK
    told = capsys.readouterr()
    assert [row["id"] for row in csv.DictReader(io.StringIO(told.out))] == ["r2", "r1"]
    assert told.err == "no fleet is running: this is what the last one has kept\n"
    assert cli.run(["explain", "slowest"]) == Exit.OK
    assert capsys.readouterr().out.startswith("request  r2  POST /api/chat\n")
    assert cli.run(["usage", "--by", "tenant", "--by", "tenant"]) == Exit.OK
    assert capsys.readouterr().out.startswith("TENANT  REQUESTS")
    assert cli.run(["usage", "--by", "tenant", "-o", "csv"]) == Exit.OK
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert (row["tenant"], row["requests"], row["energy_wh"]) == ("t", "3", "")


@pytest.mark.usefixtures("left")
@pytest.mark.parametrize(("command", "column"), [("history", "total_s"), ("usage", "gpu_s")])
def test_csv_of_nothing_is_its_header(command, column, capsys):
    """A program that reads it finds the columns, whether there was anything or not."""
    headers = []
    for model in ("none-has-this", made().model):
        assert cli.run([command, "--model", model, "-o", "csv"]) == Exit.OK
        headers.append(capsys.readouterr().out.splitlines()[0])
    assert headers[0] == headers[1]
    assert column in headers[0].split(",")


@pytest.mark.usefixtures("left")
def test_what_is_not_there_is_said(tmp_path, capsys):
    assert cli.run(["explain", "x"]) == Exit.FAILED
    assert "there is no such request" in capsys.readouterr().err
    (tmp_path / "history.db").unlink()
    assert cli.run(["history"]) == Exit.NOT_RUNNING


@pytest.mark.parametrize("words", [("explain", "\udcff"), ("history", "--model", "\udcff")])
def test_what_is_no_unicode_is_an_error_in_one_line(words, capsys):
    assert cli.run(words) == Exit.FAILED
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("fleet: '\\udcff' cannot be written as utf-8; ")


def test_a_form_that_a_command_does_not_have_is_refused(capsys):
    """Wherever it stands; `fleet -o csv history` is as good as `fleet history -o csv`."""
    for words in (["-o", "csv", "version"], ["version", "-o", "csv"]):
        assert cli.run(words) == Exit.USAGE
    assert "csv" in capsys.readouterr().err
