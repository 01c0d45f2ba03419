"""Repairs of real Ollama processes: one that works is left alone, one whose runner hangs is not."""

import http.client
import json
import signal
import threading
import time
from contextlib import suppress

import psutil
import pytest
from fleet_process import FleetProcess, call, until

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

HANG_AFTER_S = 6
CONFIG = f"""
groups: [ {{ name: a, gpus: [], num_parallel: 1, context_length: 4096 }} ]
repair: {{ hang_after: {HANG_AFTER_S}s, step_timeout: 5s, inference_probe: 3s }}
"""


@pytest.fixture
def fleet(box, tmp_path):
    ours = f"ollama: {{ binary: {box.ollama}, models: {box.store} }}\n"
    made = FleetProcess(tmp_path, config=ours + CONFIG, HOME=str(box.home))
    made.run("up", "-d", "--wait")
    yield made
    made.run("down", "--now", check=False)


def generate(fleet, model, prompt, tokens):
    body = {
        "model": model,
        "prompt": prompt,
        "stream": False,
        "options": {"num_predict": tokens},
    }
    return call(f"{fleet.base}/api/generate", body, timeout=120)


def repairs(fleet):
    """The steps that have been taken so far."""
    told = fleet.run("events", "-o", "json", "--kind", "instance_repair").stdout.splitlines()
    return [json.loads(line)["figures"]["stage"] for line in told]


def runners(fleet):
    (instance,) = fleet.instances().values()
    return [
        child
        for child in psutil.Process(instance["pid"]).children(recursive=True)
        if child.status() != psutil.STATUS_ZOMBIE
    ]


def test_a_prompt_that_takes_longer_than_the_limit_is_no_hang(fleet):
    """One that is evaluated on the CPU, without a token for longer than a hang takes to be one."""
    generate(fleet, "slow", "hello", 1)
    prompt = " ".join(f"word{n}" for n in range(1500))
    asking = threading.Thread(target=swallowed(generate), args=(fleet, "slow", prompt, 1))
    began_s = time.monotonic()
    asking.start()
    until(lambda: runs_for_s(began_s) > 2 * HANG_AFTER_S or not asking.is_alive(), seconds=60)
    if not asking.is_alive():
        pytest.skip("this machine evaluates a long prompt within seconds")
    assert repairs(fleet) == []
    assert fleet.instances()["a"]["in_flight"] == 1
    fleet.run("down", "--now")
    asking.join(20)


def runs_for_s(began_s):
    return time.monotonic() - began_s


def swallowed(work):
    """The same without its errors: what becomes of it when the fleet is stopped is no matter."""

    def run(*arguments):
        with suppress(OSError, http.client.HTTPException):
            work(*arguments)

    return run


def test_a_runner_that_is_stopped_is_found_and_replaced(fleet):
    """The server answers its probes all the while; the request is answered after the repair."""
    generate(fleet, "slow", "hello", 1)
    (runner,) = runners(fleet)
    runner.send_signal(signal.SIGSTOP)
    answers = []
    asking = threading.Thread(
        target=lambda: answers.append(generate(fleet, "slow", "hello again", 4))
    )
    asking.start()
    until(lambda: repairs(fleet), seconds=60, what="a repair")
    asking.join(60)
    assert answers
    assert answers[0]["done"]
    steps = repairs(fleet)
    assert steps[:2] == ["cancel", "unload"]
    until(lambda: fleet.instances()["a"]["drain"] is None, what="its return")
    assert generate(fleet, "slow", "and again", 1)["done"]


def test_a_runner_that_hangs_is_found_before_a_client_meets_it(fleet):
    """By asking a model that stays for good for a token, which changes nothing about its stay."""
    body = {"model": "slow", "keep_alive": -1}
    call(f"{fleet.base}/api/generate", body, timeout=60)

    def stays():
        """Until which year."""
        return [row["expires_at"][:4] for row in fleet.instances()["a"]["resident"]]

    (runner,) = runners(fleet)
    until(lambda: stays() == ["2319"], what="the news that it stays")
    log = fleet.folder / "state" / "logs" / "a.log"

    def asked():
        return log.read_text().count('POST     "/api/generate"')

    loaded = asked()
    until(lambda: asked() >= loaded + 2, seconds=40, what="two probes")
    assert stays() == ["2319"]
    assert runners(fleet) == [runner]
    assert fleet.instances()["a"]["requests"] == 1
    runner.send_signal(signal.SIGSTOP)
    until(lambda: "unload" in repairs(fleet), seconds=60, what="a repair")
    until(lambda: fleet.instances()["a"]["drain"] is None, what="its return")
    assert generate(fleet, "slow", "hello", 1)["done"]
