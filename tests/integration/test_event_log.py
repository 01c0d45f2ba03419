"""Events over the control socket and in their file: all of them, each once, whatever was there."""

import asyncio
import json
import threading
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from control_fixtures import until

from ollama_fleet.api.admin.events import EventCommands
from ollama_fleet.directories import Directories
from ollama_fleet.fleet import reporting
from ollama_fleet.fleet.reporting import Reporting
from ollama_fleet.placement import Placement
from ollama_fleet.state import Events, Kind, Notice, State


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 30))


def note(events, *kinds):
    for kind in kinds:
        events.note(Notice(kind=kind, text=str(kind), instance="a"), 100.0 + events.last)


@asynccontextmanager
async def served(folder, events):
    """A function that asks for events by a query."""
    app = web.Application()
    app.add_routes(EventCommands(events).routes())
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1.0)
    await runner.setup()
    socket = str(folder / "s")
    await web.UnixSite(runner, socket).start()
    async with aiohttp.ClientSession(connector=aiohttp.UnixConnector(socket)) as session:
        yield lambda **query: session.get("http://fleet/v1/events", params=query)
    await runner.cleanup()


INFO, BAD = Kind.MODEL_LOADED, Kind.GPU_HOT


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ({}, [1, 2, 3, 4, 5]),
        ({"limit": 2}, [4, 5]),
        ({"after": 2}, [3, 4, 5]),
        ({"after": 1, "limit": 2}, [2, 3]),
        ({"after": 9}, []),
        ({"kind": "gpu_hot"}, [2, 4]),
        ({"kind": "gpu_hot", "limit": 1}, [4]),
        ({"since": 102}, [3, 4, 5]),
        ({"instance": "b"}, []),
        ({"limit": 0}, []),
    ],
)
def test_what_is_asked_for_is_told_oldest_first(tmp_path, query, numbers):
    async def check():
        events = Events()
        note(events, INFO, BAD, INFO, BAD, INFO)
        async with served(tmp_path, events) as ask, ask(**query) as answer:
            told = await answer.json()
        assert [event["number"] for event in told["events"]] == numbers
        assert told["last"] == 5

    run(check())


@pytest.mark.parametrize(
    "query",
    [{"limit": "x"}, {"limit": 3001}, {"limit": -1}, {"after": ""}, {"since": "y"}],
)
def test_what_cannot_be_meant_is_refused(tmp_path, query):
    async def check():
        async with served(tmp_path, Events()) as ask, ask(**query) as answer:
            assert answer.status == 400

    run(check())


def test_a_kind_that_is_none_is_refused_and_the_one_that_is_near_is_named(tmp_path):
    async def check():
        async with served(tmp_path, Events()) as ask, ask(kind="anomally") as answer:
            told = await answer.json()
            assert answer.status == 409
        assert "anomally" in told["error"]
        assert told["hint"] == "did you mean anomaly?", "anomaly_over is farther"

    run(check())


def test_who_follows_gets_each_event_once_in_order_and_the_end(tmp_path):
    """Also those that come in a flood, and none of a kind that was not asked for."""

    async def check():
        events = Events()
        note(events, BAD, INFO)
        async with served(tmp_path, events) as ask:
            async with ask(follow=1, kind=["gpu_hot", "fleet_stopped"]) as answer:
                first = json.loads(await answer.content.readline())
                note(events, *[INFO, BAD] * 300, Kind.FLEET_STOPPED)
                rest = [json.loads(line) async for line in answer.content]
            await until(lambda: not events.on_event, "the follower's leaving")
        numbers = [event["number"] for event in (first, *rest)]
        assert numbers == [1, *range(4, 603, 2), 603]

    run(check())


def test_who_leaves_is_told_nothing_more(tmp_path):
    async def check():
        events = Events()
        note(events, BAD)
        async with served(tmp_path, events) as ask:
            async with ask(follow=1) as answer:
                await answer.content.readline()
                assert len(events.on_event) == 1
            await until(lambda: not events.on_event, "the follower's leaving")

    run(check())


# -- the file --------------------------------------------------------------------------------------


@asynccontextmanager
async def kept(folder: Path):
    """The events of a fleet that has no instances."""
    directories, state = Directories(folder, folder / "s"), State(Placement((), {}))
    clock = asyncio.get_running_loop().time
    async with Reporting(state, (), directories, clock=clock, wall=lambda: 5.0):
        yield state


def tell(state, *texts):
    for text in texts:
        state.notice(Notice(kind=BAD, text=text, figures={"c": 1.5}))


def test_what_was_told_is_there_after_a_restart_and_numbers_go_on(tmp_path):
    async def check():
        async with kept(tmp_path) as state:
            tell(state, "one", "two")
            before = [*state.events.after()]
        async with kept(tmp_path) as state:
            assert [*state.events.after()] == before
            tell(state, "three")
            assert [(e.number, e.text) for e in state.events.after()] == [
                (1, "one"),
                (2, "two"),
                (3, "three"),
            ]

    run(check())


def test_a_fleet_that_is_killed_has_kept_what_it_told_a_moment_ago(tmp_path):
    async def check():
        file = tmp_path / "events.jsonl"
        async with kept(tmp_path) as state:
            tell(state, "one")
            await until(lambda: file.exists() and file.read_bytes().endswith(b"}\n"), "the line")

    run(check())


def test_lines_that_are_no_events_are_passed_over(tmp_path):
    """A line that was cut, one of another version, one of somebody else's."""

    async def check():
        async with kept(tmp_path) as state:
            tell(state, "one", "two")
        file = tmp_path / "events.jsonl"
        first, second = file.read_bytes().splitlines()
        foreign = first.replace(b"gpu_hot", b"gpu_on_fire").replace(b'"number":1', b'"number":9')
        file.write_bytes(b"\n".join([first, foreign, b"\xff", b"7", second, first[:20]]))
        async with kept(tmp_path) as state:
            assert [e.text for e in state.events.after()] == ["one", "two"]
            tell(state, "three")
        async with kept(tmp_path) as state:
            assert [e.text for e in state.events.after()] == ["one", "two", "three"]

    run(check())


def test_the_file_does_not_grow_without_end(tmp_path, monkeypatch):
    """From time to time what is no longer kept is left out."""
    monkeypatch.setattr(reporting, "LINES", 1500)

    async def check():
        for _ in range(4):
            async with kept(tmp_path) as state:
                tell(state, *map(str, range(700)))
        lines = (tmp_path / "events.jsonl").read_bytes().splitlines()
        assert len(lines) <= 1700
        async with kept(tmp_path) as state:
            assert len([*state.events.after()]) == 1000
            assert state.events.last == 2800

    run(check())


def test_a_file_that_cannot_be_written_costs_what_would_be_remembered_not_the_fleet(tmp_path):
    async def check():
        (tmp_path / "events.jsonl").mkdir()
        async with kept(tmp_path) as state:
            tell(state, "one")
            assert [e.text for e in state.events.after()] == ["one"]

    run(check())


def test_what_is_no_unicode_is_told_and_kept_like_all_else(tmp_path):
    """A folder's name is bytes: what they are in a text cannot stand in JSON."""

    async def check():
        async with kept(tmp_path) as state:
            state.notice(Notice(kind=BAD, text="\udcff left", figures={"folder": "/\udcff"}))
            tell(state, "two")
        async with kept(tmp_path) as state:
            first, second = state.events.after()
            assert (first.text, first.figures["folder"], second.text) == ("? left", "/?", "two")

    run(check())


def test_what_a_disk_did_not_take_is_written_as_soon_as_it_takes_something(tmp_path, monkeypatch):
    """Also where it took a part: nothing is written behind a line that was cut."""
    write = reporting._write

    async def check():
        file = tmp_path / "events.jsonl"
        async with kept(tmp_path) as state:
            tell(state, "one")
            await until(file.exists, "the first")
            monkeypatch.setattr(reporting, "_write", full)
            tell(state, "two")
            await until(lambda: file.read_bytes().endswith(b"{"), "a part of the second")
            monkeypatch.setattr(reporting, "_write", write)
            tell(state, "three")
        async with kept(tmp_path) as state:
            assert [e.text for e in state.events.after()] == ["one", "two", "three"]

    def full(path, events, anew):
        del events, anew
        with path.open("ab") as there:
            there.write(b"{")
        raise OSError(28, "No space left on device")

    run(check())


def test_a_write_that_fails_while_the_fleet_ends_is_made_good_by_the_last_one(
    tmp_path, monkeypatch
):
    """The last one waits for how the one before it ended, though nobody else does any more."""
    write, leave = reporting._write, threading.Event()

    async def check():
        file = tmp_path / "events.jsonl"
        async with kept(tmp_path) as state:
            tell(state, "one")
            await until(file.exists, "the first")
            monkeypatch.setattr(reporting, "_write", cut)
            tell(state, "two")
            await until(lambda: file.read_bytes().endswith(b"{"), "a part of the second")
            monkeypatch.setattr(reporting, "_write", write)
            asyncio.get_running_loop().call_later(0.1, leave.set)
        async with kept(tmp_path) as state:
            assert [e.text for e in state.events.after()] == ["one", "two"]

    def cut(path, events, anew):
        del events, anew
        with path.open("ab") as there:
            there.write(b"{")
        leave.wait(20)
        raise OSError(28, "No space left on device")

    run(check())


def test_who_follows_what_came_after_an_event_misses_none(tmp_path):
    async def check():
        events = Events()
        note(events, *[INFO] * 5)
        async with served(tmp_path, events) as ask, ask(follow=1, after=1, limit=2) as answer:
            told = [json.loads(await answer.content.readline())["number"] for _ in range(4)]
        assert told == [2, 3, 4, 5]

    run(check())
