"""A whole simulated fleet: killed, doubled, crowded and stopped, as its users would see it."""

import asyncio
import os
import signal

import aiohttp
import psutil
import pytest
from fleet_process import FleetProcess, ask, call, until

from ollama_fleet.errors import Exit

MODEL = "llama3.1:8b"
IN_TURN = {"FLEET_ROUTING__STRATEGY": "round_robin"}  # so that each is asked, however late
WANTED = "llama3.3:70b"  # in the registry of 2x24GB, not in its store


@pytest.fixture
def make(tmp_path):
    """Make fleets in the test's folder; whatever still runs is stopped at the end."""
    made = []

    def one(**arguments):
        folder = tmp_path / str(len(made))
        folder.mkdir()
        environment = {"OLLAMA_SIM_TIME_SCALE": "20", "OLLAMA_SIM_RUNNER": "1"}
        made.append(FleetProcess(folder, **{**environment, **arguments}))
        return made[-1]

    yield one
    for fleet in made:
        fleet.run("down", "--now", check=False)


def up(fleet, profile="4-mixed", *more):
    fleet.run("up", "-d", "--wait", "--simulate", profile, *more)


def of_this_fleet(fleet):
    """The processes that run on a fleet's simulated store, runners included, zombies not."""
    mark = str(fleet.folder)
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != "zombie" and mark in process.environ().get("OLLAMA_MODELS", ""):
                found.append(process.pid)
        except (psutil.Error, OSError):
            continue
    return found


async def crowd(fleet, count, *, tokens, meanwhile=None):
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        tasks = [
            asyncio.create_task(ask(session, fleet.base, MODEL, tokens=tokens))
            for _ in range(count)
        ]
        if meanwhile is not None:
            await asyncio.to_thread(meanwhile)
        return await asyncio.gather(*tasks)


def test_a_killed_instance_costs_no_request_that_had_no_byte_and_comes_back(make):
    fleet = make()
    up(fleet)
    in_flight = 0

    def kill():
        nonlocal in_flight
        victim = until(
            lambda: next((i for i in fleet.instances().values() if i["tokens"] > 0), None)
        )
        in_flight = victim["slots"]
        os.kill(victim["pid"], signal.SIGKILL)
        until(
            lambda: fleet.instances()[victim["name"]]["phase"] == "ready",
            what="its return",
        )

    results = asyncio.run(crowd(fleet, 50, tokens=300, meanwhile=kill))
    kinds = [kind for kind, _ in results]
    assert kinds.count("whole") + kinds.count("broken") == 50, results
    assert kinds.count("broken") <= in_flight
    until(lambda: not any(i["in_flight"] for i in fleet.instances().values()), what="the end")


def test_every_instance_works_on_its_own_gpu(make):
    fleet = make(**IN_TURN)
    up(fleet)
    asyncio.run(crowd(fleet, 8, tokens=2))

    def resident():
        rows = [i["resident"] for i in fleet.instances().values()]
        return rows if all(rows) else None

    for (row,) in until(resident, what="a resident model everywhere"):
        assert row["size_vram"] == row["size"], "all of it on the GPU"

    def busy():
        gpus = fleet.status()["gpus"]
        return gpus if all(g["memory_used_bytes"] for g in gpus) else None

    gpus = until(busy, what="memory in use on every GPU")
    owners = [i["gpus"] for i in fleet.instances().values()]
    assert sorted(owners) == [[g["uuid"]] for g in gpus]


def test_an_unload_frees_the_model_on_every_instance(make):
    fleet = make(**IN_TURN)
    up(fleet)
    asyncio.run(crowd(fleet, 8, tokens=2))
    until(lambda: all(i["resident"] for i in fleet.instances().values()), what="models everywhere")
    answer = call(f"{fleet.base}/api/generate", {"model": MODEL, "keep_alive": 0})
    assert answer["done_reason"] == "unload"
    until(lambda: not any(i["resident"] for i in fleet.instances().values()), what="models nowhere")
    assert call(f"{fleet.base}/api/ps") == {"models": []}


def test_a_killed_fleet_leaves_nothing_once_it_is_up_again(make):
    fleet = make()
    up(fleet)
    asyncio.run(crowd(fleet, 8, tokens=2))
    before = set(of_this_fleet(fleet))
    assert len(before) > 4, "four servers and at least one runner"
    os.kill(fleet.pid(), signal.SIGKILL)
    up(fleet)
    assert not before & set(of_this_fleet(fleet))
    fleet.run("down")
    assert not of_this_fleet(fleet)


def test_running_answers_end_before_the_fleet_does(make):
    fleet = make()
    up(fleet)

    def down():
        until(lambda: sum(i["tokens"] for i in fleet.instances().values()) > 0)
        fleet.run("down")

    results = asyncio.run(crowd(fleet, 6, tokens=1_500, meanwhile=down))
    assert [kind for kind, _ in results] == ["whole"] * 6
    assert fleet.run("status", check=False).returncode == Exit.NOT_RUNNING
    assert not of_this_fleet(fleet)


def test_a_second_fleet_on_the_same_state_is_told_who_holds_it(make):
    fleet = make()
    up(fleet)
    second = fleet.run("up", "--no-tui", "--simulate", "4-mixed", check=False)
    assert second.returncode == Exit.HELD
    assert f"pid {fleet.pid()}" in second.stderr


def test_a_port_that_is_taken_is_an_error_that_names_its_holder_and_leaves_nothing(make):
    fleet, late = make(), make()
    up(fleet)
    late.environment["FLEET_LISTEN"] = fleet.address
    refused = late.run("up", "-d", "--simulate", "4-mixed", check=False)
    assert refused.returncode == Exit.CONFIG
    assert f"pid {fleet.pid()}" in refused.stderr
    assert not of_this_fleet(late)


def test_an_address_that_is_not_ours_is_a_mistake_in_the_configuration(make):
    fleet = make(FLEET_LISTEN="192.0.2.1:11434", FLEET_INSECURE_NO_AUTH="true")
    refused = fleet.run("up", "--no-tui", "--simulate", "4-mixed", check=False)
    assert refused.returncode == Exit.CONFIG
    assert "cannot listen on 192.0.2.1:11434" in refused.stderr
    assert not of_this_fleet(fleet)


def test_a_rolling_restart_under_load_loses_no_request(make):
    fleet = make()
    up(fleet)
    before = {name: i["pid"] for name, i in fleet.instances().items()}
    results = asyncio.run(crowd(fleet, 40, tokens=40, meanwhile=lambda: fleet.run("restart")))
    assert [kind for kind, _ in results] == ["whole"] * 40
    after = {name: i["pid"] for name, i in fleet.instances().items()}
    assert all(before[name] != after[name] for name in before)


def test_a_pull_makes_a_model_known_on_every_instance_at_once(make):
    fleet = make(OLLAMA_SIM_TIME_SCALE="1000")
    up(fleet, "2x24GB")
    assert not any(WANTED in i["stored"] for i in fleet.instances().values())
    done = fleet.run("pull", WANTED)
    assert '"success"' in done.stdout
    assert all(WANTED in i["stored"] for i in fleet.instances().values())
    failed = fleet.run("pull", "no-such-model-xyz", check=False)
    assert failed.returncode == Exit.FAILED
    assert "no-such-model-xyz" in failed.stderr


def test_an_instance_that_cannot_start_fails_with_its_last_words_and_the_rest_serve(make):
    fleet = make(
        config="""
groups:
  - { name: good, gpus: [0] }
  - { name: bad, gpus: [1], env: { OLLAMA_SIM_FAULTS: start_failure } }
supervision: { backoff_first: 50ms, backoff_max: 100ms, start_limit: 3 }
"""
    )
    done = fleet.run("up", "-d", "--wait", "--simulate", "2x24GB", check=False)
    assert done.returncode == Exit.FAILED
    bad = fleet.instances()["bad"]
    assert (bad["phase"], bad["starts"]) == ("failed", 3)
    assert bad["cause"]
    assert bad["log_tail"]
    assert [kind for kind, _ in asyncio.run(crowd(fleet, 4, tokens=3))] == ["whole"] * 4
