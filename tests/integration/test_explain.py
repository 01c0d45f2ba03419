"""`fleet explain` names the cause of a slow request that was planted in a simulated fleet."""

import csv
import io
import json
import threading
import urllib.request

import pytest
from fleet_process import FleetProcess, until

MODEL, LARGE = "llama3.1:8b", "qwen3:32b"


@pytest.fixture
def start(tmp_path):
    """Start a fleet of two simulated GPUs, four times as fast as life."""
    started = []

    def start(**environment):
        simulated = {"OLLAMA_SIM_TIME_SCALE": "4", "OLLAMA_SIM_FAULTS": ""}
        started.append(FleetProcess(tmp_path, **simulated, **environment))
        started[-1].run("up", "-d", "--wait", "--simulate", "2x24GB")
        return started[-1]

    yield start
    for fleet in started:
        fleet.run("down", "--now", check=False)


@pytest.fixture
def fleet(start):
    return start()


def generate(fleet, request_id, *, tokens=40, model=MODEL, tenant="anne"):
    """One streamed request, read to its end."""
    asked = {"model": model, "prompt": "why is it so", "options": {"num_predict": tokens}}
    headers = {"X-Request-Id": request_id, "Authorization": f"Bearer {tenant}"}
    url = f"{fleet.base}/api/generate"
    request = urllib.request.Request(url, json.dumps(asked).encode(), headers)
    with urllib.request.urlopen(request, timeout=80) as answer:
        return answer.read()


def listed(fleet, *options):
    return json.loads(fleet.run("history", "-o", "json", *options).stdout)["requests"]


def explained(fleet, request_id):
    """What `fleet explain` tells, as soon as the record is kept; its seconds add up."""
    until(lambda: request_id in {r["id"] for r in listed(fleet)}, what=f"the record {request_id}")
    told = json.loads(fleet.run("explain", request_id, "-o", "json").stdout)
    parts = [seconds for name, seconds in told["spent"].items() if name.endswith("_s")]
    assert sum(parts) == pytest.approx(told["request"]["total_s"])
    return told


def at_once(fleet, names, **more):
    """So many requests at the same time, each on a thread that has begun."""
    threads = [threading.Thread(target=generate, args=(fleet, name), kwargs=more) for name in names]
    for thread in threads:
        thread.start()
    return threads


def test_a_request_that_waited_for_a_place_is_told_so(fleet):
    """All slots of both instances are taken by long answers, then one more comes."""
    slots = sum(i["slots"] for i in fleet.instances().values())
    for n in range(2):
        generate(fleet, f"warm-{n}", tokens=5)
    for turn in range(3):  # on a busy machine the long ones may have ended when it comes
        holders = at_once(fleet, [f"long-{turn}-{n}" for n in range(slots + 2)], tokens=1_500)
        until(lambda: fleet.status()["waiting"] >= 2, what="the queue")
        generate(fleet, f"planted-{turn}", tokens=5)
        for thread in holders:
            thread.join()
        told = explained(fleet, f"planted-{turn}")
        if (told["cause"], told["request"]["waiting_before"]) == ("queue", 2):
            break
    assert told["cause"] == "queue", told["verdict"]
    assert told["verdict"].startswith("waited in the queue for ")
    assert "both instances were full when it came" in told["verdict"]
    assert told["request"]["waiting_before"] == 2


def test_a_request_that_waited_for_a_cold_model_is_told_so(fleet):
    generate(fleet, "planted", tokens=3, model=LARGE)
    told = explained(fleet, "planted")
    instance = told["request"]["instance"]
    assert told["cause"] == "load", told["verdict"]
    assert told["verdict"].startswith(f"cold load of {LARGE} on {instance}: ")


def test_a_request_on_a_slow_instance_is_told_so(start):
    """One of the two is twenty times as slow; the figures of both are in the verdict."""
    fleet = start(FLEET_ROUTING__STRATEGY="round_robin")
    slow = fleet.instances()["gpu-1"]
    fleet.run("load", MODEL)
    urllib.request.urlopen(f"{slow['url']}/sim/faults", b"slow:factor=20", timeout=10).close()
    for n in range(8):
        generate(fleet, f"r-{n}", tokens=16)
    until(lambda: len(listed(fleet)) == 8, what="all records")
    of_slow = listed(fleet, "--instance", "gpu-1")
    assert len(of_slow) == 4, "they went in turn"
    told = explained(fleet, of_slow[0]["id"])
    assert told["cause"] == "slow_node", told["verdict"]
    assert told["verdict"].startswith("slow node: gpu-1 decodes at ")
    assert " tok/s where others do " in told["verdict"]
    speeds = {pace["instance"]: pace["decode_per_s"] for pace in told["paces"]}
    assert speeds["gpu-0"] > 2 * speeds["gpu-1"] > 0, "a busy machine makes the quick one slower"


def test_what_is_told_of_requests_is_the_same_whether_the_fleet_runs_or_not(fleet):
    generate(fleet, "one", tokens=10, tenant="anne")
    generate(fleet, "two", tokens=20, tenant="bert")
    until(lambda: len(listed(fleet)) == 2, what="both records")
    asked = (
        ("history", "-o", "csv"),
        ("history", "-o", "json", "--errors"),
        ("history", "-o", "json", "--since", "1h", "--model", MODEL.upper()),
        ("explain", "last"),
        ("explain", "on"),
        ("explain", "slowest", "-o", "json"),
        ("usage",),
        ("usage", "-o", "csv", "--by", "model", "--by", "instance"),
    )
    running = [fleet.run(*one).stdout for one in asked]
    fleet.run("down", "--now")
    stopped = [fleet.run(*one) for one in asked]
    assert running == [done.stdout for done in stopped]
    assert all("no fleet is running" in done.stderr for done in stopped)

    rows = list(csv.DictReader(io.StringIO(running[0])))
    assert [(row["id"], row["output_tokens"]) for row in rows] == [("two", "20"), ("one", "10")]
    assert len({row["tenant"] for row in rows}) == 2
    assert all(row["tenant"].startswith("key:") for row in rows)
    assert all(float(row["gpu_s"]) > 0 for row in rows)
    (total,) = csv.DictReader(io.StringIO(running[-1]).readlines()[:2])
    assert total["requests"] in {"1", "2"}
