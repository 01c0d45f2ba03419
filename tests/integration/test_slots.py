"""Slots that nobody told the fleet are found out: a simulated Ollama that someone else runs."""

import asyncio
import time
from contextlib import ExitStack

import aiohttp
import pytest
from fleet_process import FleetProcess, until
from test_sim_server import PROFILE, SimServer

from ollama_fleet.sim.ollama.catalogue import install_profile
from ollama_fleet.sim.ollama.profile import load
from ollama_fleet.sim.ollama.store import Store

DEADLINE_S = 60.0
CLIENTS = 8
MODEL = "a:1b"


@pytest.fixture
def theirs(tmp_path):
    """Start a server that runs so many requests at once, and a fleet that has only its URL."""
    stack = ExitStack()

    def start(slots, family="llama"):
        folder = tmp_path / "theirs"
        folder.mkdir()
        profile = folder / "profile.yaml"
        profile.write_text(PROFILE.replace("family: llama", f"family: {family}"))
        install_profile(Store(folder / "store"), load(str(profile)))
        sim = stack.enter_context(SimServer(folder, OLLAMA_NUM_PARALLEL=str(slots)))
        instances = f"[{{ name: attic, url: 'http://127.0.0.1:{sim.port}' }}]"
        fleet = FleetProcess(tmp_path, config=f"groups: []\ninstances: {instances}\n")
        stack.callback(fleet.run, "down", "--now", check=False)
        fleet.run("up", "-d", "--wait")
        until(lambda: fleet.instances()["attic"]["stored"], what="its models")
        return fleet

    with stack:
        yield start


async def client(session, fleet):
    """Ask without end."""
    body = {"model": MODEL, "prompt": "tell me", "options": {"num_predict": 20}}
    while True:
        async with session.post(f"{fleet.base}/api/generate", json=body) as answer:
            assert answer.status == 200, await answer.text()
            await answer.read()


async def busy_until(fleet, enough):
    """Keep more clients at it than there are slots; its record each time it was looked at."""
    seen = []
    async with aiohttp.ClientSession() as session:
        clients = [asyncio.create_task(client(session, fleet)) for _ in range(CLIENTS)]
        deadline_s = time.monotonic() + DEADLINE_S
        while not (seen and enough(seen[-1])) and time.monotonic() < deadline_s:
            seen.append((await asyncio.to_thread(fleet.instances))["attic"])
        assert not any(task.done() for task in clients), "a client failed"
        for task in clients:
            task.cancel()
        await asyncio.gather(*clients, return_exceptions=True)
    assert enough(seen[-1]), f"not within {DEADLINE_S:g} s: {seen[-1]}"
    return seen


def test_the_slots_of_a_server_that_nobody_knows_are_found_under_load(theirs):
    """With four at last tried, three have been found to pay."""
    fleet = theirs(slots=4)
    assert fleet.instances()["attic"]["slots"] == 1
    seen = asyncio.run(busy_until(fleet, lambda record: record["slots"] >= 4))
    assert seen[-1]["slots_by_model"] == {MODEL: seen[-1]["slots"]}
    assert all(record["in_flight"] <= record["slots"] + 1 for record in seen)


def test_a_server_that_runs_one_request_at_a_time_is_given_no_more(theirs):
    """At times a second one is tried, which waits inside: it brings nothing, and is taken back."""
    fleet = theirs(slots=1)
    asyncio.run(busy_until(fleet, lambda it: it["requests"] >= 120 and it["slots"] == 1))


def test_a_family_that_ollama_runs_alone_is_never_given_more_than_one_slot(theirs):
    fleet = theirs(slots=4, family="mllama")
    seen = asyncio.run(busy_until(fleet, lambda record: record["requests"] >= 60))
    assert {record["slots"] for record in seen} == {1}
    assert seen[-1]["in_flight"] <= 1
