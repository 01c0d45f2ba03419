"""What is in memory where, on a simulated fleet: reloads are counted by the runners' processes."""

import asyncio
import json
import random
import time
import urllib.error

import aiohttp
import psutil
import pytest
from control_fixtures import until as until_async
from fleet_process import FleetProcess, call, until
from test_sim_server import SimServer

from ollama_fleet.config import SupervisionConfig
from ollama_fleet.control.prober import Prober
from ollama_fleet.directories import Directories
from ollama_fleet.gpu import GpuSample
from ollama_fleet.history import recent
from ollama_fleet.names import canonical
from ollama_fleet.ollama import Ollama, new_session
from ollama_fleet.placement import InstanceSpec, Placement
from ollama_fleet.state import State

MODEL = "llama3.1:8b"
CONTEXTS = (4096, 8192)  # tokens; the first is what the instances give anyway
TWO = """
defaults: {{ num_parallel: {slots}, context_length: 4096, keep_alive: -1 }}
groups:
  - {{ name: a, gpus: [0] }}
  - {{ name: b, gpus: [1] }}
"""
ONE = TWO.rpartition("  -")[0]


@pytest.fixture
def up(tmp_path):
    """Start a simulated fleet; it is stopped at the end."""
    made = []

    def start(config, *, slots=2, scale=200):
        scaled = {"OLLAMA_SIM_TIME_SCALE": str(scale), "OLLAMA_SIM_RUNNER": "1"}
        fleet = FleetProcess(tmp_path, config=config.format(slots=slots), **scaled)
        made.append(fleet)
        fleet.run("up", "-d", "--wait", "--simulate", "4-mixed")
        return fleet

    yield start
    for fleet in made:
        fleet.run("down", "--now", check=False)


def runners(fleet):
    """The process ids of each instance's runners: another id is another load."""
    processes = {name: psutil.Process(i["pid"]) for name, i in fleet.instances().items()}
    return {name: {c.pid for c in process.children()} for name, process in processes.items()}


def named(model):
    """What makes a model of another's weights: its manifest is another."""
    return {"model": model, "system": "Be brief.", "stream": False}


async def generate(session, fleet, context, *, model=MODEL, tokens=3):
    """Ask once; the instance that answered."""
    options = {"num_predict": tokens}
    if context != CONTEXTS[0]:
        options["num_ctx"] = context
    body = {"model": model, "prompt": "tell me", "options": options, "stream": False}
    async with session.post(f"{fleet.base}/api/generate", json=body) as answer:
        assert answer.status == 200, await answer.text()
        assert (await answer.json())["done"] is True
        return answer.headers["X-Fleet-Instance"]


def test_clients_of_two_contexts_settle_on_two_instances_and_nothing_is_ever_loaded_again(up):
    """A load takes more than a second here: on no machine as long as the wait for a slot."""
    fleet = up(TWO, scale=5)

    async def clients():
        draw = random.Random(7)
        async with aiohttp.ClientSession() as session:
            first = [asyncio.create_task(generate(session, fleet, c)) for c in CONTEXTS]
            home = dict(zip(CONTEXTS, await asyncio.gather(*first), strict=True))
            loaded = runners(fleet)

            async def client(context):
                for _ in range(15):
                    await asyncio.sleep(draw.random() / 100)
                    assert await generate(session, fleet, context) == home[context]

            await asyncio.gather(*(client(c) for c in CONTEXTS for _ in range(3)))
        return home, loaded

    home, loaded = asyncio.run(clients())
    assert len(set(home.values())) == 2
    assert runners(fleet) == loaded
    assert all(len(pids) == 1 for pids in loaded.values())
    rows = {name: i["resident"][0]["context_length"] for name, i in fleet.instances().items()}
    assert rows == {name: context for context, name in home.items()}


def test_a_lone_instance_serves_another_context_however_busy_it_is_with_the_first(up):
    """Ollama alone would let those who come later overtake for ever."""
    fleet = up(ONE)

    async def clients():
        async with aiohttp.ClientSession() as session:
            served, stop = 0, False

            async def keep_busy():
                nonlocal served
                while not stop:
                    await generate(session, fleet, CONTEXTS[0], tokens=20)
                    served += 1

            busy = [asyncio.create_task(keep_busy()) for _ in range(4)]
            while served < 8:
                await asyncio.sleep(0.01)
            async with asyncio.timeout(60):
                await generate(session, fleet, CONTEXTS[1], tokens=5)
            stop = True
            await asyncio.gather(*busy)

    asyncio.run(clients())
    assert overtaken(fleet) <= 4, "those who were there already, and no more"


def overtaken(fleet):
    """How many came after the request of five tokens, and were answered before it."""
    path = Directories.find(fleet.environment).history

    def told():
        records = recent(path, 100_000)
        return records if any(record.output_tokens == 5 for record in records) else None

    records = until(told, what="its record")
    (other,) = (record for record in records if record.output_tokens == 5)
    ended_s = other.arrived_s + other.total_s
    later = (record for record in records if record.arrived_s > other.arrived_s)
    return sum(record.arrived_s + record.total_s < ended_s for record in later)


def test_the_client_that_triggers_a_load_may_leave_and_the_load_goes_on(up):
    fleet = up(ONE, scale=1)  # a load takes eight seconds

    async def impatient():
        async with aiohttp.ClientSession() as session:
            asking = asyncio.create_task(generate(session, fleet, CONTEXTS[0]))
            await until_async(lambda: fleet.instances()["a"]["in_flight"], "a request in flight")
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        await until_async(lambda: not fleet.instances()["a"]["in_flight"], "its lease given back")

    asyncio.run(impatient())
    assert fleet.instances()["a"]["resident"] == []
    until(lambda: fleet.instances()["a"]["resident"], what="the model in memory, for nobody")
    loaded = runners(fleet)
    answer = call(f"{fleet.base}/api/generate", {"model": MODEL, "prompt": "x", "stream": False})
    assert answer["done"]
    assert answer["load_duration"] < 7e9
    assert runners(fleet) == loaded


def test_all_who_wait_for_a_model_wait_for_one_load(up):
    fleet = up(ONE, scale=20)

    async def clients():
        async with aiohttp.ClientSession() as session:
            await asyncio.gather(*(generate(session, fleet, CONTEXTS[0]) for _ in range(6)))

    asyncio.run(clients())
    assert [len(pids) for pids in runners(fleet).values()] == [1]


def test_where_a_model_cannot_be_loaded_the_request_goes_elsewhere(up):
    fleet = up(TWO.replace("gpus: [0]", "gpus: [0], load_timeout: 1ms"))

    async def client():
        async with aiohttp.ClientSession() as session:
            return {await generate(session, fleet, CONTEXTS[0]) for _ in range(4)}

    assert asyncio.run(client()) == {"b"}
    assert {name: bool(pids) for name, pids in runners(fleet).items()} == {"a": False, "b": True}


def test_where_nobody_can_load_a_model_the_client_reads_ollamas_own_words(up):
    fleet = up(ONE.replace("gpus: [0]", "gpus: [0], load_timeout: 1ms"))
    with pytest.raises(urllib.error.HTTPError) as raised:
        call(f"{fleet.base}/api/generate", {"model": MODEL, "prompt": "x"})
    assert raised.value.code == 500
    reason = json.loads(raised.value.read())["error"]
    assert reason.startswith("timed out waiting for llama runner to start")


def test_two_names_of_one_blob_share_its_memory_and_its_slots(up):
    fleet = up(ONE, slots=1, scale=20)
    assert call(f"{fleet.base}/api/create", {"from": MODEL, **named("other")})
    call(f"{fleet.base}/api/generate", {"model": MODEL, "prompt": "x", "stream": False})
    loaded = runners(fleet)

    async def clients():
        async with aiohttp.ClientSession() as session:
            await generate(session, fleet, CONTEXTS[0], model="other")
            assert runners(fleet) == loaded
            busy = asyncio.create_task(generate(session, fleet, CONTEXTS[0], tokens=40_000))
            await until_async(lambda: fleet.instances()["a"]["in_flight"], "the slot taken")
            other = generate(session, fleet, CONTEXTS[0], model="other")
            waiting = asyncio.create_task(other)
            await until_async(lambda: fleet.status()["waiting"], "the other name in line")
            assert fleet.instances()["a"]["in_flight"] == 1
            busy.cancel()
            await waiting

    asyncio.run(clients())


def test_an_external_instance_tells_what_its_names_run(tmp_path):
    """Its store is not ours to read."""

    async def scenario(sim):
        url = f"http://127.0.0.1:{sim.port}"
        spec = InstanceSpec("a", "", "127.0.0.1", sim.port, 1, url, external=True, url=url)
        state = State(Placement((spec,)))
        instance = state.instances["a"]

        async def no_gpus():
            return GpuSample()

        def weights():
            return {m.weights for m in instance.stored.values() if m.name in ("a:1b", "z:latest")}

        settings = SupervisionConfig(probe_interval_s=0.1)
        async with (
            new_session() as session,
            Prober(
                state,
                lambda _: Ollama(session, url),
                settings,
                clock=time.monotonic,
                read_gpus=no_gpus,
            ),
        ):
            await until_async(lambda: len(instance.stored) == 5, "all its models")
            assert len({m.digest for m in instance.stored.values()}) == 5
            await until_async(lambda: len(weights()) == 1, "one blob behind two names")
            assert instance.residency(canonical("z")) == instance.residency(canonical("a:1b"))

    with SimServer(tmp_path) as sim:
        assert sim.call("POST", "/api/create", {"from": "a:1b", **named("z")})[0] == 200
        asyncio.run(scenario(sim))
