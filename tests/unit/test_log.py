"""The fleet's own log: what lines say, and what becomes of them where nobody reads."""

import gc
import json
import logging
import os
import select
import threading
import warnings
import weakref
from datetime import UTC, datetime
from queue import SimpleQueue

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.errors import FleetError
from ollama_fleet.log import Descriptor, JsonLines, PrettyLines, dropped_lines, logging_to
from ollama_fleet.log.faults import in_words
from ollama_fleet.log.writer import BoundedHandler, Writer

SECRET = "sk-canary"


class Kept:
    """An outlet that keeps what it is given, `most` bytes at a time."""

    def __init__(self, most=2**20):
        self.most = most
        self.data = b""

    def write(self, data):
        self.data += data[: self.most]
        return min(len(data), self.most)


class Broken:
    """An outlet whose other end is gone for the first so many lines."""

    def __init__(self, fails):
        self.fails = fails
        self.kept = Kept()

    def write(self, data):
        if self.fails:
            self.fails -= 1
            raise BrokenPipeError
        return self.kept.write(data)


def made(**fields):
    return logging.makeLogRecord({"levelno": logging.INFO, "levelname": "INFO", **fields})


def test_lines_are_json_objects_with_their_extra_fields():
    out = Kept()
    with logging_to(out, level=logging.INFO, lines=JsonLines()):
        logging.getLogger("x").info("started %s", "a", extra={"pid": 7})
        logging.getLogger("x").debug("not shown")
    (line,) = out.data.splitlines()
    record = json.loads(line)
    assert record["event"] == "started a"
    assert (record["pid"], record["level"], record["logger"]) == (7, "info", "x")


def test_a_line_tells_its_time_in_utc_to_the_millisecond():
    """As RFC 3339 has it."""
    moment = datetime(2026, 11, 21, 8, 0, 1, 500_700, UTC)
    told = json.loads(JsonLines().format(made(created=moment.timestamp())))["ts"]
    assert told == "2026-11-21T08:00:01.500Z"


@given(st.text(), st.floats() | st.text() | st.binary())
def test_a_record_is_one_line_of_json_whatever_it_holds(text, value):
    """Nothing in it can forge another record, or be obeyed by a terminal."""
    line = JsonLines().format(made(msg="%s", args=(text,), value=value))
    assert line.isprintable()
    assert line.isascii()
    record = json.loads(line, parse_constant=pytest.fail)
    assert record["event"] == text


@given(st.text())
def test_a_line_for_people_is_one_line_and_moves_no_cursor(text):
    line = PrettyLines().format(made(msg="%s", args=(text,), model=text))
    assert line.isprintable()


def test_plain_lines_show_the_same_for_people():
    out = Kept()
    with logging_to(out, level=logging.DEBUG, lines=PrettyLines()):
        logging.getLogger("x").debug("seen", extra={"pid": 7})
    assert out.data.rstrip().endswith(b"seen  pid=7")


def _raised(error, cause=None):
    try:
        raise error from cause
    except type(error) as caught:
        return (type(caught), caught, caught.__traceback__)


@pytest.mark.parametrize("lines", [JsonLines(), PrettyLines(coloured=True)])
def test_an_exception_is_told_without_what_it_may_quote(lines):
    """Its kind, its cause and its trace stay; the words of a ValueError may be a prompt's."""
    error = _raised(FleetError("a reason of ours"), cause=ValueError(SECRET))
    group = _raised(ExceptionGroup(SECRET, [KeyError(SECRET), OSError(28, "no space")]))
    told = [lines.format(in_words(made(msg="x", exc_info=each))) for each in (error, group)]
    assert SECRET not in "".join(told)
    assert "a reason of ours" in told[0]
    assert "ValueError" in told[0]
    assert "test_log.py" in told[0]
    assert "KeyError" in told[1]
    assert "no space" in told[1]


class Fault(ValueError):
    """One of whom it can be seen whether it is still there."""


class Dying:
    """Something whose end goes wrong."""

    def __del__(self):
        raise ValueError(SECRET)


def test_what_waits_to_be_written_keeps_no_request_in_memory():
    """Frames hold their bodies; a queue of faults would hold as many as it has room for."""
    records = SimpleQueue()
    fault = Fault(SECRET)
    seen = weakref.ref(fault)
    handler = BoundedHandler(records)
    handler.handle(made(msg="x", exc_info=_raised(fault)))
    del fault
    gc.collect()
    assert seen() is None
    assert "Fault" in records.get_nowait().exception


def test_what_python_would_say_on_stderr_is_logged_without_what_it_may_quote():
    """Of threads that fail, of things whose end goes wrong; and warnings."""
    out = Kept()
    with logging_to(out, level=logging.INFO, lines=JsonLines()):
        thread = threading.Thread(target=int, args=(SECRET,), name="a thread")
        thread.start()
        thread.join()
        Dying()
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("of old", stacklevel=1)
    first, second, third = map(json.loads, out.data.splitlines())
    assert SECRET.encode() not in out.data
    assert (first["of"], first["exception"].splitlines()[-1]) == ("a thread", "ValueError")
    assert second["exception"].splitlines()[-1] == "ValueError"
    assert "of old" in third["event"]


def test_a_full_queue_drops_counts_and_tells():
    records = SimpleQueue()
    handler = BoundedHandler(records, most=2)
    for n in range(5):
        handler.handle(made(msg=str(n)))
    assert handler.dropped == 3
    kept = [records.get_nowait().msg for _ in range(2)]
    handler.handle(made(msg="later"))
    told = records.get_nowait()
    assert kept == ["0", "1"]
    assert (told.dropped, records.get_nowait().msg, handler.dropped) == (3, "later", 3)


def test_lost_lines_of_what_is_logged_to_are_counted_and_of_nothing_else():
    handler, apart = (BoundedHandler(SimpleQueue(), most=1) for _ in range(2))
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        before = dropped_lines()
        for _ in range(3):
            handler.handle(made(msg="m"))
            apart.handle(made(msg="m"))
        assert dropped_lines() - before == 2
    finally:
        root.removeHandler(handler)


def test_what_was_dropped_is_told_without_another_record():
    """Once there is room: the last of a flood is not left uncounted."""
    records = SimpleQueue()
    handler = BoundedHandler(records, most=1)
    for n in range(3):
        handler.handle(made(msg=str(n)))
    records.get_nowait()
    handler.tell()
    handler.tell()
    assert records.get_nowait().dropped == 2
    assert records.empty()


def test_a_count_that_is_lost_itself_is_told_later_and_counts_no_record_twice():
    """As where a disk takes lines again, then not the one that told of the others."""
    records = SimpleQueue()
    handler = BoundedHandler(records, most=1)
    for n in range(4):
        handler.handle(made(msg=str(n)))
    records.get_nowait()
    handler.tell()
    handler.lost(records.get_nowait())
    assert handler.dropped == 3
    handler.tell()
    assert records.get_nowait().dropped == 3


def test_a_line_is_whole_however_little_is_taken_at_a_time():
    out = Kept(most=3)
    with logging_to(out, level=logging.INFO, lines=JsonLines()):
        for n in range(5):
            logging.getLogger("x").info("line %d", n)
    assert [json.loads(line)["event"] for line in out.data.splitlines()] == [
        f"line {n}" for n in range(5)
    ]


def test_what_nobody_takes_is_counted_once_and_told_when_someone_does():
    """A reader that comes back learns how many lines it has missed, the notice of them not."""
    out = Broken(fails=3)
    with logging_to(out, level=logging.INFO, lines=JsonLines()):
        for n in range(5):
            logging.getLogger("x").info("line %d", n)
    told = [json.loads(line) for line in out.kept.data.splitlines()]
    events = [line["event"] for line in told]
    missed = sum(line.get("dropped", 0) for line in told)
    assert missed + len([event for event in events if event.startswith("line")]) == 5


def test_a_pipe_that_nobody_reads_takes_what_it_has_room_for_and_no_more():
    """And whoever writes is back at once: the rest can be tried again."""
    read, write = os.pipe()
    try:
        outlet, line, taken = Descriptor(write), b"x" * 3_000, 0
        while count := outlet.write(line):
            taken += count
        assert taken >= select.PIPE_BUF
        assert outlet.write(line) == 0
        assert len(os.read(read, taken + 1)) == taken
        assert outlet.write(line) == len(line)
    finally:
        os.close(read)
        os.close(write)


def test_logging_may_begin_while_something_is_being_logged():
    """Python collects garbage wherever it is, in the middle of a queue, too; what dies may log."""
    out, died = Kept(), []
    writer = Writer(out, JsonLines())

    def dies(phase, _info):
        if phase == "stop" and len(died) < 500:
            died.append(None)
            writer.handler.handle(made(msg="died"))

    thresholds = gc.get_threshold()
    gc.callbacks.append(dies)
    gc.set_threshold(1)
    try:
        for _ in range(500):
            writer.handler.handle(made(msg="lives"))
    finally:
        gc.set_threshold(*thresholds)
        gc.callbacks.remove(dies)
        writer.close()
    events = [json.loads(line)["event"] for line in out.data.splitlines()]
    assert events.count("lives") == 500
    assert events.count("died") == len(died) > 0


def test_a_record_that_cannot_be_rendered_costs_itself_only():
    out = Kept()
    writer = Writer(out, JsonLines())
    writer.handler.handle(made(msg="%d", args=(SECRET,)))
    writer.handler.handle(made(msg="goes on"))
    writer.close()
    first, second = map(json.loads, out.data.splitlines())
    assert first["event"] == "a log record could not be rendered: TypeError"
    assert second["event"] == "goes on"
