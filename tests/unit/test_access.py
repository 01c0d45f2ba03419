"""The access log: which requests get a line, how loud, and what is in it."""

import logging

import pytest
from made_records import Clock, made

from ollama_fleet.fleet.access import BURST, RATE_PER_S, SLOW_S, AccessLog, fields_of
from ollama_fleet.history import Ending


@pytest.fixture
def lines():
    """What is logged, as it comes."""
    found = []
    handler = logging.Handler()
    handler.emit = found.append
    log = logging.getLogger("ollama_fleet.fleet.access")
    before = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    yield found
    log.removeHandler(handler)
    log.setLevel(before)


def test_a_line_says_who_what_where_how_long_and_how_it_ended(lines):
    """One line per request, as of the moment it ended."""
    AccessLog("all", clock=Clock()).write([made(tenant="key:12")])
    (line,) = lines
    assert (line.getMessage(), line.created, line.levelno) == ("request", 1_004.75, logging.INFO)
    assert (
        vars(line).items()
        >= {
            "id": "r1",
            "client": "127.0.0.1",
            "tenant": "key:12",
            "method": "POST",
            "route": "/api/chat",
            "model": "Qwen3:8b",
            "instance": "gpu0",
            "status": 200,
            "ending": "completed",
            "queue_s": 0.5,
            "load_s": 0.0,
            "ttft_s": 0.75,
            "total_s": 4.75,
            "prompt_tokens": 300,
            "output_tokens": 20,
            "attempts": 1,
        }.items()
    )


def test_no_field_hides_one_that_every_line_has():
    """A record with a field of a log record's own name cannot be made."""
    taken = set(vars(logging.makeLogRecord({}))) | {"ts", "level", "event", "logger", "message"}
    assert taken.isdisjoint(fields_of(made(failures=("Overloaded",), error="x", tenant="t")))


@pytest.mark.parametrize(
    ("changes", "level"),
    [
        ({}, logging.INFO),
        ({"ending": Ending.REFUSED, "status": 404}, logging.INFO),
        ({"ending": Ending.CLIENT_GONE, "status": 200}, logging.INFO),
        ({"ending": Ending.REFUSED, "status": 503}, logging.WARNING),
        ({"ending": Ending.BROKEN}, logging.WARNING),
        ({"ending": Ending.INCOMPLETE}, logging.WARNING),
    ],
)
def test_a_failure_of_ours_is_a_warning_and_no_client_s(lines, changes, level):
    AccessLog("all", clock=Clock()).write([made(**changes)])
    assert [line.levelno for line in lines] == [level]


def test_usual_requests_beyond_a_rate_are_counted_instead(lines):
    """The line after them says how many were left out: nobody takes the log for the whole."""
    clock = Clock()
    log = AccessLog("sampled", clock=clock)
    log.write([made()] * (int(BURST) + 7))
    assert len(lines) == BURST
    clock.now_s += 1 / RATE_PER_S
    log.write([made(), made()])
    assert len(lines) == BURST + 1
    assert lines[-1].left_out == 7
    clock.now_s += 1
    log.write([made(), made()])
    assert [vars(line).get("left_out") for line in lines[-2:]] == [1, None]


def test_failures_take_no_later_lines_from_usual_requests(lines):
    clock = Clock()
    log = AccessLog("sampled", clock=clock)
    log.write([made(ending=Ending.BROKEN)] * (10 * int(BURST)))
    clock.now_s += 1 / RATE_PER_S
    log.write([made()])
    assert lines[-1].ending == "completed"


def test_over_any_while_lines_of_usual_requests_keep_to_their_rate(lines):
    clock = Clock()
    log = AccessLog("sampled", clock=clock)
    for _ in range(1_000):
        clock.now_s += 0.2
        log.write([made()] * 40)
    assert len(lines) <= BURST + 200 * RATE_PER_S
    assert len(lines) >= 200 * RATE_PER_S


@pytest.mark.parametrize(
    "changes",
    [
        {"ending": Ending.REFUSED, "status": 503},
        {"ending": Ending.BROKEN},
        {"first_byte_s": SLOW_S},
        {"first_byte_s": 0.0, "total_s": SLOW_S},
    ],
)
def test_what_failed_or_was_slow_has_its_line_whatever_the_rate(lines, changes):
    log = AccessLog("sampled", clock=Clock())
    log.write([made()] * 1_000)
    before = len(lines)
    log.write([made(**changes)] * 100)
    assert len(lines) == before + 100


def test_all_leaves_none_out_and_off_writes_none(lines):
    AccessLog("all", clock=Clock()).write([made()] * 1_000)
    AccessLog("off", clock=Clock()).write([made(ending=Ending.BROKEN)] * 10)
    assert len(lines) == 1_000


def test_a_model_name_as_long_as_a_body_does_not_fill_the_log():
    assert len(fields_of(made(model="m" * 100_000))["model"]) == 200
