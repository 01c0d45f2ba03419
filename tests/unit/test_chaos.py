"""The chaos bench: its schedule and its load repeat, and its checker sees what breaks the law."""

import json
from dataclasses import replace
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.bench.chaos.asks import EMBEDDINGS, Ask, Manner, Route, asks, body
from ollama_fleet.bench.chaos.report import Aftermath, report, table
from ollama_fleet.bench.chaos.schedule import Fault, schedule
from ollama_fleet.bench.chaos.verdict import End, Seen, Verdict, judge, worked_twice
from ollama_fleet.bench.chaos.watching import Sample, loop_lag_p99_ms, slope_mib_per_min
from ollama_fleet.sim.ollama.faults import parse

CALM = Aftermath(
    settled_s=0.1,
    failed_starts=(),
    unretrieved=0,
    fds_grown=0,
    processes_left=0,
    rss_slope_mib_per_min=0.0,
    loop_lag_p99_ms=5.0,
    machine_lag_p99_ms=1.0,
)
PIECES = [" one", " two", " three"]
TEXT = "".join(PIECES)


def ask(route=Route.GENERATE, *, stream=True, number=1):
    return Ask(number, route, "m", "x", len(PIECES), stream=stream)


def events(*records):
    return b"".join(b"data: " + json.dumps(record).encode() + b"\n\n" for record in records)


def lines(*records):
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


STREAMS = {
    Route.GENERATE: (
        [lines({"response": piece, "done": False}) for piece in PIECES],
        lines({"response": "", "done": True}),
        lines({"error": "cut"}),
    ),
    Route.CHAT: (
        [lines({"message": {"content": piece}, "done": False}) for piece in PIECES],
        lines({"message": {"content": ""}, "done": True}),
        lines({"error": "cut"}),
    ),
    Route.V1_CHAT: (
        [events({"choices": [{"delta": {"content": piece}}]}) for piece in PIECES],
        events({"choices": [{"delta": {}, "finish_reason": "length"}]}) + b"data: [DONE]\n\n",
        events({"error": {"message": "cut"}}),
    ),
    Route.V1_COMPLETIONS: (
        [events({"choices": [{"text": piece}]}) for piece in PIECES],
        events({"choices": [{"text": "", "finish_reason": "length"}]}) + b"data: [DONE]\n\n",
        events({"error": {"message": "cut"}}),
    ),
    Route.MESSAGES: (
        [events({"type": "content_block_delta", "delta": {"text": piece}}) for piece in PIECES],
        b"event: message_stop\n" + events({"type": "message_stop"}),
        b"event: error\n" + events({"type": "error", "error": {"message": "cut"}}),
    ),
    Route.RESPONSES: (
        [events({"type": "response.output_text.delta", "delta": piece}) for piece in PIECES],
        events({"type": "response.completed"}),
        events({"type": "error", "message": "cut"}),
    ),
}
WHOLES = {
    Route.GENERATE: {"response": TEXT, "done": True},
    Route.CHAT: {"message": {"content": TEXT}, "done": True},
    Route.V1_CHAT: {"choices": [{"message": {"content": TEXT}, "finish_reason": "length"}]},
    Route.V1_COMPLETIONS: {"choices": [{"text": TEXT, "finish_reason": "length"}]},
    Route.MESSAGES: {"content": [{"text": TEXT}], "stop_reason": "max_tokens"},
    Route.RESPONSES: {"output": [{"content": [{"text": TEXT}]}], "status": "completed"},
}


def seen(data, asked=None, **more):
    return Seen(asked or ask(), **{"end": End.COMPLETE, "status": 200, "body": data, **more})


def verdict(data, asked=None, **more):
    return judge(seen(data, asked, **more), TEXT).verdict


def found(*judged, aftermath=CALM, missed=None):
    about = {"faults": {"stop": 1}, "missed": missed or {}, "skipped": {}}
    return report(judged, aftermath, seed=1, seconds=9.0, **about)


# -- the plan ----------------------------------------------------------------------------------


@given(st.integers(), st.floats(1, 600), st.integers(1, 8))
def test_a_seed_has_one_schedule_in_order_and_within_its_time(seed, seconds, instances):
    strikes = schedule(seed, seconds, instances)
    assert strikes == schedule(seed, seconds, instances)
    assert [s.at_s for s in strikes] == sorted(s.at_s for s in strikes)
    assert all(0 <= s.at_s < seconds and 0 <= s.instance < instances for s in strikes)
    assert any(s.fault is Fault.KILL_FLEET for s in strikes)


def test_another_seed_has_another_schedule():
    assert schedule(1, 60, 4) != schedule(2, 60, 4)


def test_a_minute_has_every_fault_and_each_script_is_one_that_the_simulation_reads():
    strikes = schedule(1, 60, 4)
    assert {s.fault for s in strikes} == set(Fault)
    assert all(parse(s.script) for s in strikes if s.script)


def test_only_what_is_asked_for_is_struck():
    strikes = schedule(1, 60, 4, (Fault.STOP,))
    assert {s.fault for s in strikes} == {Fault.STOP}
    assert {s.fault for s in schedule(1, 60, 4, (Fault.KILL_FLEET,))} == {Fault.KILL_FLEET}


def test_the_last_half_of_a_run_belongs_to_one_fleet():
    kills = [s.at_s for s in schedule(3, 1800, 4) if s.fault is Fault.KILL_FLEET]
    assert len(kills) == 8
    assert max(kills) < 900


def test_a_seed_has_one_load_of_every_route_and_manner():
    first = list(islice(asks(1), 500))
    assert first == list(islice(asks(1), 500))
    assert {a.route for a in first} == set(Route)
    assert {a.manner for a in first} == set(Manner)
    assert len({a.id for a in first}) == 500
    assert all(json.loads(body(a))["model"] == a.model for a in first)
    assert not any(a.stream for a in first if a.route in EMBEDDINGS)


# -- the law -----------------------------------------------------------------------------------


@pytest.mark.parametrize("route", STREAMS)
def test_streams_in_every_dialect(route):
    """Whole; short with an end mark; short without; ended by an error; ended twice."""
    pieces, end, error = STREAMS[route]
    asked = ask(route)
    assert verdict(b"".join(pieces) + end, asked) is Verdict.WHOLE
    assert verdict(b"".join(pieces[:-1]) + end, asked) is Verdict.TRUNCATED
    assert verdict(b"".join(pieces), asked) is Verdict.TRUNCATED
    assert verdict(pieces[0] + pieces[1][7:] + end, asked) is Verdict.ALTERED
    assert verdict(pieces[0] + pieces[1][:-7] + b"\n" + error, asked) is Verdict.ALTERED
    assert verdict(pieces[0] + error, asked) is Verdict.ERROR
    assert verdict((b"".join(pieces) + end) * 2, asked) is Verdict.DOUBLED
    assert verdict(b"".join([*pieces, *pieces]) + end, asked) is Verdict.DOUBLED
    assert verdict(b"".join(reversed(pieces)) + end, asked) is Verdict.ALTERED


@pytest.mark.parametrize("route", WHOLES)
def test_answers_in_one_piece_in_every_dialect(route):
    asked, data = ask(route, stream=False), json.dumps(WHOLES[route])
    assert verdict(data.encode(), asked) is Verdict.WHOLE
    assert verdict(data.replace(PIECES[-1], "").encode(), asked) is Verdict.TRUNCATED
    assert verdict(data[:-9].encode(), asked) is Verdict.ALTERED
    assert verdict(data[:-9].encode(), asked, end=End.CUT) is Verdict.ERROR
    assert verdict(b'{"error": "cut"}', asked) is Verdict.ERROR


@pytest.mark.parametrize("route", EMBEDDINGS)
def test_embeddings(route):
    key = {"embeddings": [[1.0, 2.0]]}
    row = key if route is Route.EMBED else {"data": [{"embedding": [1.0, 2.0]}]}
    answer = seen(json.dumps(row).encode(), ask(route, stream=False))
    assert judge(answer, "[1.0, 2.0]").verdict is Verdict.WHOLE
    assert judge(answer, "[1.0, 2.5]").verdict is Verdict.ALTERED
    empty = replace(answer, body=b"{}")
    assert judge(empty, "[1.0, 2.0]").verdict is Verdict.TRUNCATED


@pytest.mark.parametrize(
    ("end", "status", "wanted"),
    [
        (End.SILENT, 200, Verdict.LOST),
        (End.LEFT, 200, Verdict.LEFT),
        (End.CUT, 200, Verdict.ERROR),
        (End.UNREACHED, 0, Verdict.ERROR),
        (End.COMPLETE, 503, Verdict.ERROR),
    ],
)
def test_how_an_exchange_ended_comes_first(end, status, wanted):
    pieces, last, _ = STREAMS[Route.GENERATE]
    assert verdict(b"".join(pieces) + last, end=end, status=status) is wanted


@pytest.mark.parametrize("route", STREAMS)
@pytest.mark.parametrize("end", [End.CUT, End.LEFT])
def test_of_an_answer_that_ends_too_soon_the_beginning_is_right(route, end):
    """Where the try that failed and the next one were spliced it is not."""
    pieces, _, error = STREAMS[route]
    asked, cut = ask(route), pieces[0] + pieces[1][:-4]
    assert verdict(cut, asked, end=end) is (Verdict.ERROR if end is End.CUT else Verdict.LEFT)
    assert verdict(pieces[0] + pieces[0] + cut, asked, end=end) is Verdict.ALTERED
    assert verdict(pieces[0] + pieces[2] + error, asked) is Verdict.ALTERED


def test_an_instance_that_gets_a_request_after_its_client_had_a_byte_doubles_it():
    """One that got it before does not: nobody had heard of the try that failed."""
    first = judge(seen(b"", first_s=10.0), TEXT)
    assert worked_twice([first], {"chaos-1": [8.0, 9.5]}) == []
    (doubled,) = worked_twice([first], {"chaos-1": [9.5, 10.5]})
    assert doubled.verdict is Verdict.DOUBLED
    assert not worked_twice([replace(first, first_s=None)], {"chaos-1": [9.5, 10.5]})


# -- the report --------------------------------------------------------------------------------

GOOD = judge(seen(b"".join(STREAMS[Route.GENERATE][0]) + STREAMS[Route.GENERATE][1]), TEXT)


def planted(wanted, number=2):
    return replace(GOOD, ask=ask(number=number), verdict=wanted, why="planted")


def test_a_run_without_harm_holds():
    assert found(GOOD, planted(Verdict.ERROR), planted(Verdict.LEFT, 3)).holds


@pytest.mark.parametrize(
    ("wanted", "field"),
    [
        (Verdict.LOST, "lost"),
        (Verdict.DOUBLED, "doubled"),
        (Verdict.TRUNCATED, "truncated_as_success"),
        (Verdict.ALTERED, "altered"),
    ],
)
def test_one_planted_breach_of_the_law_is_told_and_nothing_holds(wanted, field):
    breached = found(GOOD, planted(wanted))
    assert not breached.holds
    assert breached.document()[field] == 1
    assert breached.broken == (wanted.value,)
    assert "chaos-2" in breached.wrong[0]


def test_a_request_counts_once_and_at_its_worst():
    breached = found(replace(GOOD, verdict=Verdict.DOUBLED), GOOD)
    assert (breached.requests, breached.whole, breached.doubled) == (1, 0, 1)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"settled_s": None}, "in flight"),
        ({"settled_s": 2.5}, "in flight"),
        ({"failed_starts": ("exit code 1",)}, "start after a crash"),
        ({"unretrieved": 1}, "unretrieved exceptions"),
        ({"fds_grown": 6}, "file descriptors"),
        ({"processes_left": 1}, "processes"),
        ({"rss_slope_mib_per_min": 1.0}, "memory"),
        ({"loop_lag_p99_ms": 100.0}, "loop lag"),
    ],
)
def test_what_is_left_of_a_fleet_breaks_its_invariant(change, named):
    assert found(GOOD, aftermath=replace(CALM, **change)).broken == (named,)


def test_a_loop_is_not_blamed_for_a_machine_that_has_no_time_for_it():
    busy = replace(CALM, loop_lag_p99_ms=100.0, machine_lag_p99_ms=40.0)
    assert found(GOOD, aftermath=busy).holds


def test_a_busy_machine_is_no_excuse_for_a_loop_that_is_later_by_far():
    stuck = replace(CALM, loop_lag_p99_ms=2500.0, machine_lag_p99_ms=40.0)
    assert found(GOOD, aftermath=stuck).broken == ("loop lag",)


def test_a_run_in_which_nothing_was_tried_does_not_hold():
    assert found().broken == ("nothing was tried",)


def test_a_kind_of_fault_that_never_strikes_is_no_proof_of_anything():
    assert found(GOOD, missed={"reload": 3}).broken == ("reload never struck",)
    assert found(GOOD, missed={"reload": 2, "stop": 9}).holds


def test_the_table_has_every_figure():
    text = table(found(GOOD))
    assert "truncated as success   0" in text
    assert "stop                 1" in text


# -- the pulse ---------------------------------------------------------------------------------


def samples(pid, seconds, mib_per_min, from_s=0.0):
    return [Sample(pid, from_s + s, int(2**20 * (90 + mib_per_min * s / 60))) for s in seconds]


@given(st.floats(-5, 5))
def test_the_slope_is_that_of_a_process_which_has_settled(mib_per_min):
    """What its beginning and an earlier process were like does not count."""
    earlier = samples(1, range(600), 50.0)
    beginning = [Sample(2, 600.0 + s, s) for s in range(120)]
    steady = samples(2, range(120, 400), mib_per_min, from_s=600.0)
    slope = slope_mib_per_min([*earlier, *beginning, *steady])
    assert slope == pytest.approx(mib_per_min, abs=0.01)


def test_of_a_long_run_the_last_five_minutes_count():
    grown = samples(1, range(1000), 9.0)
    level = [Sample(1, s, grown[-1].rss_bytes) for s in range(1000, 1301)]
    assert slope_mib_per_min([*grown, *level]) == pytest.approx(0.0, abs=0.01)


def test_there_is_no_slope_of_a_moment():
    assert slope_mib_per_min(samples(1, range(200), 9.0)) is None
    assert slope_mib_per_min([]) is None


def test_lag_is_the_bound_under_which_99_of_100_timers_were():
    name = "ollama_fleet_event_loop_lag_seconds_bucket"
    page = "".join(
        f'{name}{{le="{bound}"}} {count}\n'
        for bound, count in (("0.005", 980.0), ("0.05", 991.0), ("+Inf", 1000.0))
    )
    assert loop_lag_p99_ms(page) == 50.0
    assert loop_lag_p99_ms(page.replace("991.0", "989.0")) == 50.0
    assert loop_lag_p99_ms("") is None
