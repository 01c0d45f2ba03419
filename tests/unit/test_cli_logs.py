"""`fleet logs`: every line once and in order, whatever rotation does meanwhile."""

from contextlib import closing
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ollama_fleet.cli import run
from ollama_fleet.cli.logfiles import LogReader, log_names
from ollama_fleet.cli.logtimes import by_time, time_of
from ollama_fleet.control.logs.rotated import RotatedFile
from ollama_fleet.errors import Exit

LINES = st.lists(st.binary(max_size=12).map(lambda raw: raw.replace(b"\n", b" ")), max_size=12)
KEEP = 60  # so many that none is lost: what has aged out cannot be read
MAX_BYTES = 30


def _write(directory, lines, name="a"):
    log = RotatedFile(directory / f"{name}.log", max_bytes=MAX_BYTES, keep=KEEP)
    for line in lines:
        log.write(line + b"\n")
    log.close()


@settings(max_examples=60)
@given(before=LINES, after=st.lists(LINES, max_size=4))
def test_following_misses_nothing_and_repeats_nothing(tmp_path_factory, before, after):
    """However much is written between two looks, rotation included, each line comes once."""
    directory = tmp_path_factory.mktemp("logs")
    _write(directory, before)
    with closing(LogReader(directory, "a", None)) as reader:
        seen = list(reader.lines())
        assert seen == before
        for lines in after:
            _write(directory, lines)
            seen += reader.lines()
            assert reader.rest() == b""
    assert seen == before + [line for lines in after for line in lines]


@settings(max_examples=60)
@given(lines=LINES, last=st.integers(0, 20))
def test_the_tail_is_the_end_of_the_whole(tmp_path_factory, lines, last):
    """`--tail N` gives the last N lines of all files together, and what follows them."""
    directory = tmp_path_factory.mktemp("logs")
    _write(directory, lines)
    with closing(LogReader(directory, "a", last)) as reader:
        assert list(reader.lines()) == (lines[-last:] if last else [])
        _write(directory, [b"later"])
        assert list(reader.lines()) == [b"later"]


def test_a_tail_longer_than_a_block_is_found(tmp_path):
    """The search for the last lines goes on from block to block."""
    lines = [b"%06d " % n + b"x" * 90 for n in range(3000)]
    (tmp_path / "a.log").write_bytes(b"".join(line + b"\n" for line in lines))
    with closing(LogReader(tmp_path, "a", 2000)) as reader:
        assert list(reader.lines()) == lines[-2000:]


def test_a_line_is_not_shown_before_it_has_ended(tmp_path):
    """Half a line waits for its other half; at the end of a look without -f it is the rest."""
    path = tmp_path / "a.log"
    path.write_bytes(b"one\ntw")
    with closing(LogReader(tmp_path, "a", None)) as reader:
        assert list(reader.lines()) == [b"one"]
        with path.open("ab") as file:
            file.write(b"o\nthr")
        assert list(reader.lines()) == [b"two"]
        assert reader.rest() == b"thr"


def test_a_log_may_begin_after_its_reader(tmp_path):
    """An instance that has written nothing yet is followed from its first line."""
    with closing(LogReader(tmp_path, "a", 5)) as reader:
        assert list(reader.lines()) == []
        _write(tmp_path, [b"first"])
        assert list(reader.lines()) == [b"first"]


def test_a_file_that_was_emptied_is_read_from_its_start(tmp_path):
    """`: > a.log` loses what was there, not what comes."""
    path = tmp_path / "a.log"
    path.write_bytes(b"one\ntwo\n")
    with closing(LogReader(tmp_path, "a", None)) as reader:
        assert list(reader.lines()) == [b"one", b"two"]
        path.write_bytes(b"3\n")
        assert list(reader.lines()) == [b"3"]


def test_reading_goes_on_with_the_oldest_when_its_file_is_gone(tmp_path):
    """A reader that is so slow that its file has aged out takes up the oldest there is."""
    log = RotatedFile(tmp_path / "a.log", max_bytes=4, keep=2)
    log.write(b"one\n")
    with closing(LogReader(tmp_path, "a", None)) as reader:
        assert list(reader.lines()) == [b"one"]
        for line in (b"two\n", b"thr\n", b"fou\n", b"fiv\n"):
            log.write(line)
        assert list(reader.lines()) == [b"thr", b"fou", b"fiv"]
    log.close()


def test_names_are_those_of_the_files(tmp_path):
    """Older files and other things do not count as instances."""
    for name in ("b.log", "a.log", "a.log.1", "note.txt"):
        (tmp_path / name).touch()
    assert log_names(tmp_path) == ["a", "b"]


@pytest.mark.parametrize(
    "line",
    [
        b'time=2026-11-21T08:00:01.500Z level=INFO source=a.go:1 msg="x"',
        b"time=2026-11-21T09:00:01.500+01:00 level=INFO",
        b'{"ts": "2026-11-21T08:00:01.500Z", "level": "info"}',
    ],
)
def test_the_time_of_a_line_is_found_in_each_form(line):
    """Ollama's lines and ours tell the same time, in whatever zone."""
    assert time_of(line) == datetime(2026, 11, 21, 8, 0, 1, 500_000, UTC)


@pytest.mark.parametrize(
    "line",
    [
        b"[GIN] 2026/11/21 - 08:00:01 | 200 |  1.2s | 127.0.0.1 | POST /api/chat",
        b"2026-11-21 08:00:01 info    serves on 127.0.0.1:11434",
    ],
)
def test_the_time_of_a_line_for_people_is_in_local_time(line):
    """Gin writes that of this machine's clock on the wall; so do we where a person is to read."""
    assert time_of(line) == datetime(2026, 11, 21, 8, 0, 1).astimezone(UTC)


@given(st.binary())
def test_a_line_without_a_time_has_none(line):
    """No bytes whatever make reading a time fail."""
    assert time_of(b"time=2026-13-41T99 " + line) is None
    assert time_of(b"x" + line) is None


STAMPED = st.lists(st.integers(0, 59) | st.none(), max_size=8)


@settings(max_examples=40)
@given(STAMPED, STAMPED)
def test_merging_keeps_each_log_in_its_order(tmp_path_factory, left, right):
    """Lines of one log stay in order; if all have growing times, so has the whole."""
    directory = tmp_path_factory.mktemp("logs")
    written = {}
    for name, seconds in (("a", left), ("b", right)):
        stamps = [b"" if s is None else b"time=2026-11-21T08:00:%02dZ" % s for s in seconds]
        written[name] = [b"%b %d" % (stamp, at) for at, stamp in enumerate(stamps)]
        _write(directory, written[name], name)
    readers = [LogReader(directory, name, None) for name in written]
    merged = list(by_time(readers))
    for reader in readers:
        reader.close()
        assert [line for name, line in merged if name == reader.name] == written[reader.name]
    if left == sorted(s for s in left if s is not None) and right == sorted(
        s for s in right if s is not None
    ):
        times = [time_of(line) for _, line in merged]
        assert times == sorted(times)


def _logs(tmp_path, monkeypatch, **contents):
    monkeypatch.setenv("FLEET_STATE_DIR", str(tmp_path))
    (tmp_path / "logs").mkdir()
    for name, content in contents.items():
        (tmp_path / "logs" / f"{name}.log").write_bytes(content)


def test_several_logs_are_told_apart_by_their_names(tmp_path, monkeypatch, capfdbinary):
    """Each line stands behind its instance; the fleet's own log is not mixed in unasked."""
    _logs(tmp_path, monkeypatch, gpu=b"x\n", gpu1=b"\x1b[1my\xff\n", fleet=b"z\n")
    assert run(["logs"]) == Exit.OK
    assert capfdbinary.readouterr().out == b"gpu  | x\ngpu1 | \x1b[1my\xff\n"


def test_one_log_is_printed_as_it_is(tmp_path, monkeypatch, capfdbinary):
    """What is not looked at on a terminal is passed on byte by byte, a last half line too."""
    _logs(tmp_path, monkeypatch, fleet=b"a\n\x1b[1mb\xff")
    assert run(["logs", "fleet"]) == Exit.OK
    assert capfdbinary.readouterr().out == b"a\n\x1b[1mb\xff\n"
