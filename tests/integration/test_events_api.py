"""What the control API answers who asks for events."""

import asyncio

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from ollama_fleet.api.admin.events import EventCommands
from ollama_fleet.state import Events, Kind, Notice


def asked(path):
    """Status and document of an answer of a fleet that has one event."""

    async def ask():
        events = Events()
        events.note(Notice(kind=Kind.GPU_HOT, text="is hot"), 1.0)
        app = web.Application()
        app.add_routes(EventCommands(events).routes())
        async with TestClient(TestServer(app)) as client, client.get(path) as answer:
            return answer.status, await answer.json()

    return asyncio.run(asyncio.wait_for(ask(), 20))


@pytest.mark.parametrize("way", ["", "&follow=1"])
def test_a_kind_of_event_that_is_not_there_is_answered_with_the_nearest(way):
    status, told = asked(f"/v1/events?kind=partial_ofload{way}")
    assert status == 409
    assert told["error"] == "no kind of event is called partial_ofload"
    assert told["hint"] == "did you mean partial_offload?"


def test_a_kind_that_is_like_none_is_answered_with_where_all_are_listed():
    status, told = asked("/v1/events?kind=zzz&kind=gpu_hot")
    assert (status, told["hint"]) == (409, "docs/events.md lists them")


def test_a_kind_that_is_there_chooses():
    assert asked("/v1/events?kind=gpu_cool") == (200, {"events": [], "last": 1})
    status, told = asked("/v1/events?kind=gpu_hot")
    assert (status, [event["text"] for event in told["events"]]) == (200, ["is hot"])
