"""fleet.yaml read again by a whole simulated fleet, as its users would see it."""

import asyncio
import json
import os
import signal

import aiohttp
import pytest
from fleet_process import FleetProcess, ask, until

from ollama_fleet.bench.ports import free_port
from ollama_fleet.errors import Exit

MODEL = "llama3.1:8b"
GROUPS = """
groups:
  - { name: a, gpus: [0], keep_alive: KEEP }
  - { name: b, gpus: [1] }
  - { name: c, gpus: [2] }
"""


def groups(keep="30m"):
    return GROUPS.replace("KEEP", keep)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Three simulated instances, by a file that can be changed."""
    folder = tmp_path_factory.mktemp("reload")
    made = FleetProcess(folder, config=groups(), OLLAMA_SIM_TIME_SCALE="20")
    made.run("up", "-d", "--wait", "--simulate", "4-mixed")
    yield made
    made.run("down", "--now", check=False)


@pytest.fixture
def fleet(shared):
    """The same, as its first file has it, whatever an earlier test has made of it."""
    yield shared
    rewrite(shared, groups())
    shared.run("reload")


def rewrite(fleet, text):
    fleet.config.write_text(f"listen: {fleet.address}\n{text}")


def pids(fleet):
    return {name: i["pid"] for name, i in fleet.instances().items()}


def taken(fleet):
    """What the metric says of the file that was read last."""
    page = fleet.run("metrics").stdout
    return [line for line in page.splitlines() if "config_last_reload_successful " in line][-1][-1]


async def crowd(fleet, count, meanwhile):
    """So many streams; what becomes of them while something else is done."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        asks = [
            asyncio.create_task(ask(session, fleet.base, MODEL, tokens=40)) for _ in range(count)
        ]
        done = await asyncio.to_thread(meanwhile)
        return done, [kind for kind, _ in await asyncio.gather(*asks)]


async def beside_another(fleet):
    """What becomes of a request while another of the same client goes on."""
    wanted = {"model": MODEL, "prompt": "tell me", "options": {"num_predict": 100_000}}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{fleet.base}/api/generate", json=wanted) as other,
    ):
        assert await other.content.readany()
        return await ask(session, fleet.base, MODEL, tokens=2)


def test_only_what_is_different_is_started_anew_and_no_request_fails(fleet):
    before = pids(fleet)
    same = json.loads(fleet.run("reload", "-o", "json").stdout)
    assert [same[k] for k in ("removed", "restarted", "added", "altered", "keys")] == [[]] * 5
    assert pids(fleet) == before

    rewrite(fleet, groups(keep="7m"))
    planned = json.loads(fleet.run("reload", "--dry-run", "-o", "json").stdout)
    assert (planned["restarted"], planned["keys"]) == (["a"], ["groups"])
    assert pids(fleet) == before

    done, kinds = asyncio.run(crowd(fleet, 40, lambda: fleet.run("reload")))
    assert "restarted: a" in done.stdout
    assert kinds == ["whole"] * 40
    after = pids(fleet)
    assert after["a"] != before["a"]
    assert {n: after[n] for n in "bc"} == {n: before[n] for n in "bc"}
    assert taken(fleet) == "1"


def test_timings_repairs_limits_and_strategy_are_taken_and_touch_no_instance(fleet):
    before = pids(fleet)
    changes = (
        "supervision: { probe_interval: 1s, drain_timeout: 5s }\n"
        "repair: { hangs: false }\nlimits: { requests_per_client: 1 }\n"
        "routing: { strategy: least_loaded }\n"
    )
    rewrite(fleet, groups() + changes)
    told = json.loads(fleet.run("reload", "-o", "json").stdout)
    assert {"limits.requests_per_client", "repair.hangs", "routing.strategy"} < set(told["keys"])
    assert (told["restarted"], pids(fleet)) == ([], before)
    assert json.loads(fleet.run("status", "-o", "json").stdout)["strategy"] == "least_loaded"
    kind, text = asyncio.run(beside_another(fleet))
    assert (kind, text[:3]) == ("refused", "429")
    rewrite(fleet, groups())
    fleet.run("reload")
    assert asyncio.run(beside_another(fleet))[0] == "whole"
    assert pids(fleet) == before


def test_a_file_with_mistakes_changes_nothing_and_says_where_they_are(fleet):
    before = pids(fleet)
    rewrite(fleet, "groups:\n  - { name: a, gpus: [0], keep_alif: 1m }\n")
    refused = fleet.run("reload", check=False)
    assert refused.returncode == Exit.CONFIG
    assert "fleet.yaml:3:" in refused.stderr
    assert "keep_alif" in refused.stderr
    assert (pids(fleet), taken(fleet)) == (before, "0")

    rewrite(fleet, groups().replace("gpus: [2]", "gpus: [9]"))  # a mistake only on this machine
    assert fleet.run("reload", check=False).returncode == Exit.CONFIG
    assert pids(fleet) == before

    rewrite(fleet, groups() + "history: { keep: 1h }\n")
    refused = fleet.run("reload", check=False)
    assert refused.returncode == Exit.CONFIG
    assert "cannot change while the fleet runs: history.keep (its files" in refused.stderr

    rewrite(fleet, groups())
    fleet.run("reload")
    assert (pids(fleet), taken(fleet)) == (before, "1")


def test_a_model_that_cannot_fit_is_refused_with_ways_out_and_nothing_is_lost(fleet):
    """Neither an instance nor a request; the file as it was is in force, and so is the next."""
    before = pids(fleet)
    rewrite(
        fleet, groups().replace("gpus: [0]", f"gpus: [0], num_parallel: 64, models: ['{MODEL}']")
    )
    refused, kinds = asyncio.run(crowd(fleet, 20, lambda: fleet.run("reload", check=False)))
    assert refused.returncode == Exit.CONFIG
    for words in (MODEL, "64 x 8192 tokens", "too much", "`num_parallel: ", "`cpu_offload: true`"):
        assert words in refused.stderr
    assert kinds == ["whole"] * 20
    assert (pids(fleet), taken(fleet)) == (before, "0")
    lines = fleet.run("events", "-o", "json").stdout.splitlines()
    events = [json.loads(line) for line in lines]
    assert [e["text"] for e in events if e["kind"] == "config_refused" and "too much" in e["text"]]

    rewrite(
        fleet, groups().replace("gpus: [0]", "gpus: [0], num_parallel: 1, context_length: 4096")
    )
    assert "restarted: a" in fleet.run("reload").stdout
    assert taken(fleet) == "1"


def test_instances_come_and_go_and_others_are_not_touched(fleet):
    before = pids(fleet)
    changed = groups().replace("{ name: c, gpus: [2] }", "{ name: d, gpus: [2, 3] }")
    away = free_port()
    changed += f"""
instances:
  - {{ name: attic, url: "http://127.0.0.1:{away}" }}
queue: {{ limit: 7 }}
"""
    rewrite(fleet, changed)
    done, kinds = asyncio.run(crowd(fleet, 40, lambda: fleet.run("reload", "-o", "json")))
    told = json.loads(done.stdout)
    assert (told["removed"], told["restarted"], told["added"]) == (["c"], [], ["d", "attic"])
    assert kinds == ["whole"] * 40
    now = fleet.instances()
    assert set(now) == {"a", "b", "d", "attic"}
    assert {n: now[n]["pid"] for n in "ab"} == {n: before[n] for n in "ab"}
    assert now["d"]["phase"] == "ready"
    until(lambda: fleet.instances()["d"]["stored"], what="the models of the new instance")
    rewrite(fleet, groups())
    fleet.run("reload")
    assert set(fleet.instances()) == {"a", "b", "c"}


def test_the_only_instance_is_renamed_while_requests_wait_for_it(fleet):
    """Requests are refused at no moment: there is always somebody for whom they can wait."""
    rewrite(fleet, "groups: [{ name: a, gpus: [0] }]")
    fleet.run("reload")
    rewrite(fleet, "groups: [{ name: x, gpus: [0] }]")
    _, kinds = asyncio.run(crowd(fleet, 40, lambda: fleet.run("reload")))
    assert kinds == ["whole"] * 40
    assert set(fleet.instances()) == {"x"}
    rewrite(fleet, "groups: [{ name: x, gpus: [0], keep_alive: 7m }]")
    _, kinds = asyncio.run(crowd(fleet, 40, lambda: fleet.run("reload")))
    assert kinds == ["whole"] * 40


def test_without_its_file_the_fleet_goes_on_as_it_was(fleet):
    """It makes no other fleet, of no file or of one that lies elsewhere."""
    before = pids(fleet)
    text = fleet.config.read_text()
    fleet.config.unlink()
    refused = fleet.run("reload", check=False)
    assert refused.returncode == Exit.CONFIG
    assert "fleet.yaml: cannot be read" in refused.stderr
    assert (pids(fleet), taken(fleet)) == (before, "0")
    fleet.config.write_text(text)


def test_a_hangup_reads_the_file_again(fleet):
    before = pids(fleet)
    rewrite(fleet, groups(keep="8m"))
    os.kill(fleet.pid(), signal.SIGHUP)
    until(lambda: pids(fleet)["a"] not in (0, before["a"]), what="the new process")
    rewrite(fleet, "groups: nonsense")
    os.kill(fleet.pid(), signal.SIGHUP)
    until(lambda: taken(fleet) == "0", what="the refusal")
    kinds = fleet.run("events").stdout
    assert "config_reloaded" in kinds
    assert "config_refused" in kinds


def test_an_instance_that_does_not_come_back_ends_the_reload(fleet):
    before = pids(fleet)
    rewrite(
        fleet,
        groups()
        .replace("gpus: [0]", "gpus: [0], env: { OLLAMA_SIM_FAULTS: start_failure }")
        .replace("gpus: [1]", "gpus: [1], context_length: 4096"),
    )
    refused = fleet.run("reload", check=False)
    assert refused.returncode == Exit.FAILED
    assert "a: exited" in refused.stderr
    assert pids(fleet)["b"] == before["b"], "what comes after it is left as it is"
    assert taken(fleet) == "0"
    assert fleet.run("reload", check=False).returncode == Exit.FAILED, "it is tried again"
    assert pids(fleet)["b"] == before["b"]
    rewrite(fleet, groups())
    fleet.run("reload")
    assert {i["phase"] for i in fleet.instances().values()} == {"ready"}
    assert {n: pids(fleet)[n] for n in "bc"} == {n: before[n] for n in "bc"}
