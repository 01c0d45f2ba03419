"""What is in memory where, with real Ollama processes: a load is a runner process of its own."""

import asyncio
import os
import signal

import aiohttp
import psutil
import pytest
from fleet_process import FleetProcess, call, until

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]  # real weights, on a CPU that others use

CONTEXTS = (2048, 1024)  # tokens; the first is what the instances give anyway
CONFIG = """
ollama: {{ binary: {ollama}, models: {store} }}
defaults: {{ num_parallel: 2, context_length: 2048, keep_alive: 30m }}
groups:
"""
GROUP = "  - {{ name: {name}, gpus: [] }}\n"


@pytest.fixture
def up(box, tmp_path):
    """Start a fleet of some instances on the box's store; it is stopped at the end."""
    made = []

    def start(*names):
        config = CONFIG.format(ollama=box.ollama, store=box.store)
        config += "".join(GROUP.format(name=name) for name in names)
        made.append(FleetProcess(tmp_path, config=config, HOME=str(box.home)))
        made[0].run("up", "-d", "--wait")
        return made[0]

    yield start
    for fleet in made:
        fleet.run("down", "--now", check=False)


def runners(pid):
    """The runner processes of a server."""
    found = set()
    for process in psutil.Process(pid).children(recursive=True):
        try:
            if "runner" in process.cmdline():
                found.add(process.pid)
        except psutil.Error:
            continue
    return found


async def generate(session, fleet, model, context=CONTEXTS[0]):
    """Ask once; the instance that answered, and the record of its answer."""
    options = {"num_predict": 2} | ({} if context == CONTEXTS[0] else {"num_ctx": context})
    body = {"model": model, "prompt": "x", "stream": False, "options": options}
    async with session.post(f"{fleet.base}/api/generate", json=body) as answer:
        record = await answer.json()
        assert answer.status == 200, record
        return answer.headers["X-Fleet-Instance"], record


def test_two_contexts_settle_on_two_instances_and_no_runner_is_started_again(up):
    fleet = up("a", "b")
    pids = [instance["pid"] for instance in fleet.instances().values()]

    async def clients():
        async with aiohttp.ClientSession() as session:
            first = (generate(session, fleet, "tiny", context) for context in CONTEXTS)
            home = [name for name, _ in await asyncio.gather(*first)]
            loaded = [runners(pid) for pid in pids]
            assert [len(each) for each in loaded] == [1, 1]

            async def client(name, context):
                for _ in range(5):
                    assert (await generate(session, fleet, "tiny", context))[0] == name

            pairs = list(zip(home, CONTEXTS, strict=True))
            await asyncio.gather(*(client(*pair) for pair in pairs * 3))
            assert [runners(pid) for pid in pids] == loaded

    asyncio.run(clients())


def test_a_client_that_leaves_in_the_middle_of_a_load_does_not_end_it(up):
    """Straight to Ollama it would: `client connection closed before ... aborting load`."""
    fleet = up("a")
    pid = fleet.instances()["a"]["pid"]

    async def impatient():
        async with aiohttp.ClientSession() as session:
            asking = asyncio.create_task(generate(session, fleet, "slow"))
            async with asyncio.timeout(20):
                while not (found := runners(pid)):
                    await asyncio.sleep(0.002)
            (runner,) = found
            os.kill(runner, signal.SIGSTOP)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            return runner

    runner = asyncio.run(impatient())
    try:
        until(lambda: not fleet.instances()["a"]["in_flight"], what="its lease given back")
        assert fleet.instances()["a"]["resident"] == []
    finally:
        os.kill(runner, signal.SIGCONT)
    until(lambda: fleet.instances()["a"]["resident"], what="the model in memory, for nobody")
    assert runners(pid) == {runner}


def test_two_names_of_one_blob_are_one_model_in_memory(up):
    fleet = up("a")
    named = {"model": "brief", "from": "tiny", "system": "Be brief.", "stream": False}
    assert call(f"{fleet.base}/api/create", named) == {"status": "success"}

    async def clients():
        async with aiohttp.ClientSession() as session:
            await generate(session, fleet, "tiny")
            loaded = runners(fleet.instances()["a"]["pid"])
            _, record = await generate(session, fleet, "brief")
            assert runners(fleet.instances()["a"]["pid"]) == loaded
            return record

    assert asyncio.run(clients())["load_duration"] < 1e9
