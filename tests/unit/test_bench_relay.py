"""The relay bench: it sees whatever goes wrong with an answer; its figures are what they say."""

import asyncio
import json
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from virtual_time import now, passes, run

from ollama_fleet.bench.relay.backend import TICK_S, Connection, Pacer
from ollama_fleet.bench.relay.checks import Head, Verdict, judge, read_head
from ollama_fleet.bench.relay.contenders import BACKENDS, fleet_yaml
from ollama_fleet.bench.relay.figures import Reading, quantile, rows, targets
from ollama_fleet.bench.relay.load import LEAST_TOKENS, Client, Run
from ollama_fleet.bench.relay.progress import progress
from ollama_fleet.bench.relay.stamps import create_moments, shared_moments, slot
from ollama_fleet.bench.relay.table import markdown, table
from ollama_fleet.bench.relay.wire import (
    LAST_CHUNK,
    RECORD,
    Asked,
    answer_body,
    chunk,
    final_record,
    read_request,
    request,
    token_record,
    unchunk,
)
from ollama_fleet.bench.relay.workloads import FLEET, FLEET_LEAST_CONN, Plan, Workload, plan
from ollama_fleet.config import load

ASKED = Asked(number=7, tokens=3, per_s=50, stream=True)
FINAL = final_record(ASKED)
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
SIZED = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n"
WORKLOAD = Workload("W", 1, tokens=40, per_s=5, stream=True, ramp_s=0.0, window_s=9.0)


def tokens(*numbers, of=7):
    return [token_record(of, at) for at in numbers]


def chunked(records):
    return b"".join(map(chunk, records)) + LAST_CHUNK


class Transport:
    """Notes what is written, and when it is closed."""

    def __init__(self):
        self.writes, self.closed = [], False

    def write(self, data):
        self.writes.append(data)

    def close(self):
        self.closed = True


# -- wire --------------------------------------------------------------------------------------


@given(st.builds(Asked, st.integers(0, 9**7), st.integers(1, 999), st.integers(0), st.booleans()))
def test_a_request_bears_all_that_its_answer_follows_from(asked):
    """A request, read by the backend, is the one that the client meant."""
    head, _, body = request(asked).partition(b"\r\n\r\n")
    assert read_request(body) == asked
    assert b"Content-Length: %d" % len(body) in head


def test_what_is_no_request_of_the_bench_is_refused():
    """A backend does not guess."""
    with pytest.raises(ValueError, match="not a request"):
        read_request(b'{"model":"bench"}')


def test_a_token_is_a_line_of_a_real_one_s_size():
    """Lines have about the 125 bytes of Ollama's, each holds the mark of a record once."""
    lines = [token_record(9**7, 999), token_record(0, 0)]
    assert all(115 <= len(line) <= 140 and line.endswith(b"\n") for line in lines)
    assert [line.count(RECORD) for line in (*lines, FINAL)] == [1, 1, 1]


def test_a_final_record_tells_how_long_the_answer_took():
    """A router that learns from it learns what is so: 3 tokens at 50 a second are 60 ms."""
    told = json.loads(FINAL)
    assert told["eval_count"] == 3
    assert told["eval_duration"] == 60_000_000
    assert told["total_duration"] > told["eval_duration"]


@given(st.lists(st.integers(1, 5000), max_size=20))
def test_chunks_of_any_size_give_the_body_back(sizes):
    """However a proxy cuts a body into chunks, its data is the same and it ends but once."""
    body, pieces = answer_body(Asked(1, 99, 0, stream=True)), []
    rest = body
    for size in sizes:
        pieces, rest = [*pieces, rest[:size]], rest[size:]
    framed = chunked([piece for piece in (*pieces, rest) if piece])
    assert unchunk(framed) == body
    assert framed.index(LAST_CHUNK) == len(framed) - len(LAST_CHUNK)


@pytest.mark.parametrize("framed", [b"5\r\nabc\r\n0\r\n\r\n", b"3\r\nabc\r\n", b"x\r\n\r\n", b""])
def test_broken_chunks_are_an_error(framed):
    """Framing that does not fit is never read over."""
    with pytest.raises(ValueError, match=r"."):
        unchunk(framed)


# -- checks ------------------------------------------------------------------------------------


def test_an_answer_as_it_was_sent_is_good():
    """One chunk or many, sized or chunked."""
    body = answer_body(ASKED)
    assert judge(ASKED, Head(200, None), chunked([body])) == (Verdict.GOOD, "")
    assert judge(ASKED, Head(200, None), chunked([*tokens(0, 1, 2), FINAL]))[0] is Verdict.GOOD
    assert judge(ASKED, Head(200, len(body)), body)[0] is Verdict.GOOD


@pytest.mark.parametrize(
    ("records", "reason"),
    [
        ([*tokens(0, 2), FINAL], "once and in order"),
        ([*tokens(0, 1, 1, 2), FINAL], "once and in order"),
        ([*tokens(0, 2, 1), FINAL], "once and in order"),
        ([*tokens(0, 1), *tokens(2, of=8), FINAL], "tokens of another"),
        (tokens(0, 1, 2), "no final record"),
        ([*tokens(0, 1, 2), FINAL.replace(b'"eval_count":3', b'"eval_count":4')], "counts 4 of 3"),
        ([*tokens(0, 1, 2), FINAL, b"\n"], "other bytes"),
        ([b'{"error":"the runner died"}\n'], "once and in order"),
    ],
)
def test_an_answer_that_is_not_the_one_sent_is_altered(records, reason):
    """A token lost, doubled, moved or another's, no end, a wrong count, a byte more: all named."""
    verdict, why = judge(ASKED, Head(200, None), chunked(records))
    assert verdict is Verdict.ALTERED
    assert reason in why


@given(st.data())
def test_no_byte_of_an_answer_can_change_unseen(data):
    """Whichever byte of the body is another, the answer is not good."""
    body = bytearray(answer_body(ASKED))
    body[data.draw(st.integers(0, len(body) - 1))] ^= data.draw(st.integers(1, 255))
    assert judge(ASKED, Head(200, len(body)), bytes(body))[0] is Verdict.ALTERED


def test_another_status_and_a_head_without_an_end_are_failures():
    """What no client could read is never counted as an answer."""
    assert judge(ASKED, Head(502, 3), b"bad")[0] is Verdict.FAILED
    assert read_head(b"HTTP/1.1 200 OK\r\nContent-Length: 5") == Head(200, 5)
    with pytest.raises(ValueError, match="neither"):
        read_head(b"HTTP/1.1 200 OK\r\nServer: x")


# -- the moments of records --------------------------------------------------------------------


def test_what_one_process_notes_another_reads(tmp_path):
    """The file is shared: a moment stands where it was noted, and nowhere else."""
    create_moments(tmp_path / "moments")
    ours, theirs = (shared_moments(tmp_path / "moments") for _ in range(2))
    ours[slot(4095, 255)] = 1.5
    assert theirs[slot(4095, 255)] == 1.5
    assert theirs[slot(4095, 254)] == theirs[slot(0, 0)] == 0.0


@given(st.integers(0, 10**7), st.integers(0, 1999), st.integers(0, 999), st.integers(0, 255))
def test_no_two_records_that_are_under_way_share_a_slot(number, others, at, further):
    """Of 2,000 answers that were asked for in a row, 256 records in a row each."""
    other = slot(number + others, at + further)
    assert (other == slot(number, at)) == (not others and not further)


# -- the backend -------------------------------------------------------------------------------


def connected(pacer, loop, moments=None):
    moments = defaultdict(float) if moments is None else moments
    connection, transport = Connection(loop, pacer, moments, loop.time), Transport()
    connection.connection_made(transport)
    return connection, transport


@pytest.mark.parametrize(("per_s", "took_s"), [(50, 3 / 50), (0, 0.0)])
def test_the_backend_writes_one_record_at_a_time_and_at_its_pace(per_s, took_s):
    """Every token is one write; together they are the answer; the first does not wait."""

    async def scenario():
        loop = asyncio.get_running_loop()
        connection, transport = connected(Pacer(loop), loop)
        asked = Asked(3, 3, per_s, stream=True)
        wanted = request(asked)
        connection.data_received(wanted[:40])
        connection.data_received(wanted[40:])
        assert len(transport.writes) == 1
        while not transport.writes[-1].endswith(LAST_CHUNK):
            await passes(took_s / 100)
        assert [write.count(RECORD) for write in transport.writes] == [1, 1, 1, 1]
        framed = b"".join(transport.writes).partition(b"\r\n\r\n")[2]
        assert unchunk(framed) == answer_body(asked)
        assert took_s <= now() <= took_s + 3 * TICK_S

    run(scenario())


def test_the_backend_notes_when_it_wrote_each_record():
    """The first, the tokens and the last, in their order, by its own clock."""

    async def scenario():
        loop, moments = asyncio.get_running_loop(), defaultdict(float)
        connection, transport = connected(Pacer(loop), loop, moments)
        await passes(1.0)
        connection.data_received(request(ASKED))
        while not transport.writes[-1].endswith(LAST_CHUNK):
            await passes(TICK_S / 10)
        written_s = [moments[slot(ASKED.number, at)] for at in range(ASKED.tokens + 1)]
        assert len(moments) == len(written_s)
        assert written_s == pytest.approx([1.0, 1.02, 1.04, 1.06], abs=2 * TICK_S)

    run(scenario())


def test_the_backend_stops_when_nobody_listens():
    """A connection that is lost is written to no more."""

    async def scenario():
        loop = asyncio.get_running_loop()
        connection, transport = connected(Pacer(loop), loop)
        connection.data_received(request(ASKED))
        connection.connection_lost(None)
        await passes(1.0)
        assert len(transport.writes) == 1

    run(scenario())


# -- the clients -------------------------------------------------------------------------------


def asking(workload=WORKLOAD, *, end_s=9.0, clock=lambda: 0.0, moments=None):
    moments = defaultdict(float) if moments is None else moments
    session = Run(workload, moments, clock=clock, end_s=end_s)
    client, transport = Client(session), Transport()
    client.connection_made(transport)
    client.ask()
    return session, client, transport


def last_asked(transport):
    return read_request(transport.writes[-1].partition(b"\r\n\r\n")[2])


@given(st.data(), st.booleans())
def test_a_client_reads_an_answer_in_any_pieces(data, stream):
    """Cut anywhere, an answer is recognised as whole at its very last byte, and then checked."""

    async def scenario():
        session, client, transport = asking()
        asked = last_asked(transport)
        body = answer_body(asked)
        raw = HEAD + chunked([body]) if stream else SIZED % len(body) + body
        cuts = sorted(data.draw(st.sets(st.integers(1, len(raw) - 1), max_size=8)))
        for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True):
            assert session.tally.good == 0
            client.data_received(raw[start:end])
        assert (session.tally.good, session.tally.failed, session.tally.altered) == (1, 0, 0)
        assert len(transport.writes) == 2, "it asks again"

    run(scenario())


@given(st.lists(st.integers(1, 7), min_size=1))
def test_a_lag_is_from_a_record_s_writing_to_its_coming(together):
    """However many come in one piece, each record's lag is its own."""

    async def scenario():
        time_s = [0.0]
        moments = defaultdict(float)
        session, client, transport = asking(clock=lambda: time_s[0], moments=moments)
        asked = last_asked(transport)
        records = [*(token_record(asked.number, at) for at in range(asked.tokens)), FINAL]
        client.data_received(HEAD)
        at, lags_s = 0, []
        for number, size in enumerate(together):
            piece = range(at, min(at + size, asked.tokens))
            at += len(piece)
            time_s[0] = 10.0 + number
            for token in piece:
                moments[slot(asked.number, token)] = 9.0 + token / 1000
                lags_s.append(1.0 + number - token / 1000)
            client.data_received(b"".join(chunk(records[token]) for token in piece))
        assert list(session.lags_s) == pytest.approx(lags_s)
        result = session.result(0, len(lags_s))
        assert result.lag_p99_ms == pytest.approx(max(lags_s) * 1000, rel=1e-6)

    run(scenario())


def test_an_answer_that_is_not_streamed_has_no_lag():
    """The backend notes no moment for it: there is nothing to compare with."""

    async def scenario():
        whole = Workload("W", 1, tokens=8, per_s=0, stream=False, ramp_s=0.0, window_s=9.0)
        session, client, transport = asking(whole)
        body = answer_body(last_asked(transport))
        client.data_received(SIZED % len(body) + body)
        assert (session.tally.good, len(session.lags_s)) == (1, 0)
        assert session.result(0, 0).lag_p50_ms is None

    run(scenario())


def test_a_lost_connection_is_a_failed_answer_and_told_once():
    """Neither silence nor a second count."""

    async def scenario():
        session, client, _ = asking()
        client.data_received(HEAD)
        client.connection_lost(None)
        assert (session.tally.failed, session.busy) == (1, 0)
        assert session.quiet.is_set()

    run(scenario())


def test_a_run_is_not_over_while_somebody_has_asked_again():
    """An answer that ends in the window's last moment is followed by one more, which counts too."""

    async def scenario():
        time_s = [8.999]
        session, client, transport = asking(clock=lambda: time_s[0])
        over = asyncio.create_task(session.over())
        await passes(0.1)
        for answered in (1, 2):
            assert not over.done()
            framed = chunked([answer_body(last_asked(transport))])
            client.data_received(HEAD + framed)
            time_s[0] = 9.0
            await passes(0.1)
            assert session.tally.good == answered
        assert over.done()

    run(scenario())


@given(st.floats(0, 10), st.booleans())
def test_a_paced_answer_outlasts_the_window_by_little_or_has_its_usual_length(at_s, first):
    """Nobody asks after the window; who asks near its end is still there when it ends."""

    async def scenario():
        asked = Run(WORKLOAD, {}, clock=lambda: at_s, end_s=9.0).next(first=first)
        left = (9.0 - at_s) * WORKLOAD.per_s
        if asked is None:
            assert left <= 0
        else:
            assert LEAST_TOKENS <= asked.tokens <= WORKLOAD.tokens
            assert asked.tokens <= left + LEAST_TOKENS
            assert first or asked.tokens >= min(left, WORKLOAD.tokens)

    run(scenario())


# -- figures -----------------------------------------------------------------------------------


def reading(proxy="fleet", workload="W3", **values):
    usual = {
        "connections": 10,
        "stream": True,
        "window_s": 2.0,
        "cpu_s": 0.5,
        "answers": 100,
        "records": 10_000,
        "ttft_ms": (1.0, 2.0, 3.0),
        "lag_p50_ms": 0.2,
        "lag_p99_ms": 0.5,
        "memory_kib": 50,
        "failed": 0,
        "altered": 0,
        "reasons": (),
        "foreign_cores": 0.0,
    }
    return Reading(workload=workload, proxy=proxy, **{**usual, **values})


def test_a_row_holds_costs_rates_and_what_is_added():
    """Per million records, per 10,000 answers, per second, per stream; TTFT, lag above direct's."""
    bare = reading("direct", ttft_ms=(0.5, 1.0, 9.0), lag_p50_ms=0.1, lag_p99_ms=0.3, cpu_s=0.0)
    row = rows([bare, reading()])[1]
    assert row.cpu_s_per_million_chunks == 50.0
    assert row.cpu_s_per_10k_requests == 50.0
    assert (row.req_per_s, row.chunks_per_s, row.memory_kib_per_stream) == (50.0, 5000.0, 5.0)
    assert (row.added_ttft_p50_ms, row.added_ttft_p99_ms) == (1.0, -6.0)
    assert (row.added_lag_p50_ms, row.added_lag_p99_ms) == (0.1, 0.2)


@given(st.lists(st.floats(0, 1), min_size=1), st.floats(0.01, 1))
def test_a_quantile_is_the_least_value_that_covers_its_share(values, share):
    """It is one of them; with it the share is reached, without it it is not."""
    ordered = sorted(values)
    found = quantile(ordered, share)
    assert found in ordered
    assert sum(value <= found for value in ordered) >= share * len(ordered)
    assert sum(value < found for value in ordered) < share * len(ordered)


def test_ratios_are_of_the_same_repetition():
    """A machine that is slow for a while is slow for both: 2, 1.5 and 9 times make 2."""
    ours = [reading(cpu_s=c) for c in (2.0, 3.0, 9.0)]
    theirs = [reading("nginx", cpu_s=c) for c in (1.0, 2.0, 1.0)]
    row = next(r for r in rows([*theirs, *ours]) if r.proxy == "fleet")
    assert row.ratio_to_nginx == 2.0
    assert row.ratio_to_iter_any is None


def test_without_nginx_its_targets_are_not_measured():
    """What nobody measured is neither met nor missed."""
    judged = targets(rows([reading("direct"), reading()]))
    assert {t.figure: t.met for t in judged}["ratio_to_nginx"] is None
    assert "not measured" in table((), judged, ())


def test_a_target_is_missed_above_its_limit_only():
    """The limit itself is met."""
    both = [reading("nginx", cpu_s=1.0), reading(cpu_s=1.35)]
    worse = [reading("nginx", cpu_s=1.0), reading(cpu_s=1.36)]
    assert [
        next(t.met for t in targets(rows(found)) if t.figure == "ratio_to_nginx")
        for found in (both, worse)
    ] == [True, False]


def test_errors_of_all_repetitions_count():
    """A median would hide a single wrong answer."""
    row = rows([reading(altered=1), reading(), reading(failed=2)])[0]
    assert (row.errors, row.altered) == (2, 1)


def test_a_table_has_a_line_for_each_row_target_and_note():
    """Nothing that was measured is left out."""
    found = rows([reading("direct"), reading()])
    text = table(found, targets(found), ["a note"])
    assert len(text.splitlines()) == 1 + 2 + 1 + 1 + len(targets(found)) + 1
    assert text.endswith("a note")


def test_a_page_has_the_cells_of_the_table():
    """Two tables of as many columns as their heads have, a cell for each figure, and the notes."""
    found = rows([reading("direct"), reading()])
    text = markdown(found, targets(found), ["a note"])
    ours, judged, notes = (part.splitlines() for part in text.split("\n\n"))
    assert (len(ours), len(judged), notes) == (2 + 2, 2 + len(targets(found)), ["- a note"])
    for lines in (ours, judged):
        assert len({line.count("|") for line in lines}) == 1
    words = table(found, targets(found), ()).replace("  ", "").replace("\n", "").replace(" ", "")
    cells = [line for lines in (ours, judged) for at, line in enumerate(lines) if at != 1]
    assert "".join(cells).replace("|", "").replace(" ", "") == words


# -- how far it is -----------------------------------------------------------------------------


def test_the_time_left_follows_from_the_pace_so_far():
    """As planned, until a run shows that they take longer."""
    one = Workload("W", 1, 1, 1, stream=True, ramp_s=1.0, window_s=8.0)
    plan = Plan((FLEET,), (one,), repetitions=4)
    assert progress(plan, 2, 0, 0.0) == "0 of 8 runs, 80 s left"
    assert progress(plan, 2, 2, 40.0) == "2 of 8 runs, about 2 min left"
    assert progress(plan, 2, 8, 160.0) == "8 of 8 runs, 0 s left"


def test_quick_and_full_have_the_same_workloads():
    """So that a quick run may stand for a full one, which has one row more for the strategy."""

    def shapes(plan):
        return [(w.name, w.connections, w.tokens, w.per_s, w.stream) for w in plan.workloads]

    quick, full = plan(quick=True), plan(quick=False)
    assert shapes(quick) == shapes(full)
    assert (*quick.proxies, FLEET_LEAST_CONN) == full.proxies


@pytest.mark.parametrize("least_conn", [False, True])
def test_our_own_configuration_is_a_good_one(tmp_path, least_conn):
    """Three external instances with a slot for every stream; all else is as it is by default."""
    file = Path(tmp_path, "fleet.yaml")
    file.write_text(fleet_yaml(1, range(2, 2 + BACKENDS), least_conn=least_conn))
    config = load(file, environ={}, cwd=tmp_path, overrides={}).config
    assert config.routing.strategy == ("least_conn" if least_conn else "adaptive")
    most = max(w.connections for w in plan(quick=False).workloads)
    assert not config.groups
    assert len(config.instances) == BACKENDS
    assert all(instance.slots >= most for instance in config.instances)
