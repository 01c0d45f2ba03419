"""What `scripts/soak faults` takes for an answer that is whole, cut, told of, or none."""

import asyncio

import pytest
from router_fixtures import DONE, NDJSON, TOKEN, Backend, answer, chunk, line, reset, stream

from ollama_fleet.bench.faults.clients import End, ask, crowd, new_session
from ollama_fleet.bench.faults.command import NAMES, rows
from ollama_fleet.bench.faults.row import Row, median, within


def says(*records, end=b"0\r\n\r\n"):
    async def script(_backend, _request, writer):
        writer.write(NDJSON + b"".join(map(chunk, records)) + end)
        await writer.drain()
        writer.close()

    return script


async def dies(_backend, _request, writer):
    reset(writer)


ENDS = {
    "whole": (stream, End.WHOLE),
    "an error at the end": (says(TOKEN, line(error="lost")), End.TOLD),
    "cut": (says(TOKEN, end=b""), End.CUT),
    "cut before a record": (says(end=b""), End.CUT),
    "an end that says nothing": (says(TOKEN), End.SILENT),
    "refused": (answer(503, b'{"error":"full"}'), End.REFUSED),
    "nothing": (dies, End.UNANSWERED),
}


@pytest.mark.parametrize("case", ENDS)
def test_an_answer_is_taken_for_what_its_client_can_tell(case):
    script, end = ENDS[case]

    async def check():
        async with Backend(script) as backend, new_session() as session:
            seen = await ask(session, f"http://127.0.0.1:{backend.port}")
        assert seen.end is end
        assert seen.failed == (end in (End.REFUSED, End.UNANSWERED))
        assert (seen.first_s is None) == (case in ("cut before a record", "nothing"))
        assert seen.sent_s <= seen.ended_s

    asyncio.run(asyncio.wait_for(check(), 30))


def test_a_crowd_keeps_an_instance_busy_until_it_is_told_to_stop():
    async def check():
        async with Backend(says(TOKEN, DONE)) as backend:
            async with crowd(f"http://127.0.0.1:{backend.port}", 3, warm_s=0.0) as there:
                while len(there.seen) < 10:
                    await asyncio.sleep(0.01)
            assert there.under_way == 0
            assert there.count(lambda seen: seen.end is End.WHOLE) == len(there.seen)

    asyncio.run(asyncio.wait_for(check(), 30))


def test_a_figure_that_could_not_be_had_is_no_success():
    assert within(1.0, 1.0)
    assert not within(1.1, 1.0)
    assert not within(None, 1.0)
    assert (median([]), median([3.0, 1.0, 2.0])) == (None, 2.0)


def test_a_row_tells_its_figures_and_whether_they_hold():
    shown = Row("F0", "nothing at all", {"seconds": 1.0, "requests": 3, "unknown": None}, False)
    first, *figures = shown.table().splitlines()
    assert first == "F0  DOES NOT HOLD: nothing at all"
    assert [figure.split()[-1] for figure in figures] == ["1.000", "3", "-"]


def test_no_row_is_measured_that_was_not_asked_for():
    assert list(rows((), killing_s=1.0, seed=1)) == []
    assert {"F1", "F2", "F3", "F4", "F5", "F6", "F11"} == set(NAMES)
