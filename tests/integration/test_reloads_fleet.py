"""A model that changes under load: its instances reload in turn, and no request notices."""

import asyncio
import json
import time

import aiohttp
import pytest
from fleet_process import FleetProcess, call, until

from ollama_fleet.cli.control import Control
from ollama_fleet.directories import Directories
from ollama_fleet.state import Kind

MODEL, OTHER, THIRD = "changing:1b", "earlier:1b", "same:1b"
CLIENTS = 12
NODE = """
  - gpu: { name: Simulated, memory: 16MB }
    slots: 4
    prefill_tokens_per_s: 4000
    decode_base_s: 0.005
    decode_per_busy_s: 0.001
    load_bytes_per_s: 10MB
"""
PROFILE = f"""
name: small
description: GPUs with room for one of three models, which load in a second
version: 0.20.0
registry_bytes_per_s: 200MB
nodes: {NODE * 4}
cpu:
  slots: 1
  prefill_tokens_per_s: 60
  decode_base_s: 0.120
  decode_per_busy_s: 0.080
  load_bytes_per_s: 10MB
models:
  - {{ name: "{MODEL}", size: 10MB, parameter_size: 1B, quantization: F16, family: llama, context_length: 8192 }}
  - {{ name: "{OTHER}", size: 10MB, parameter_size: 1B, quantization: F16, family: llama, context_length: 8192 }}
  - {{ name: "{THIRD}", size: 10MB, parameter_size: 1B, quantization: F16, family: llama, context_length: 8192 }}
installed: ["{MODEL}", "{OTHER}", "{THIRD}"]
outputs: {{ median_tokens: 50, sigma: 0.7, max_tokens: 2048 }}
"""  # noqa: E501 - a row per model
BODY = {"model": MODEL, "prompt": "tell me", "options": {"num_predict": 100}}


@pytest.fixture
def fleet(tmp_path):
    """Four instances with MODEL in memory, by which name the registry has other weights."""
    profile = tmp_path / "profile.yaml"
    profile.write_text(PROFILE)
    made = FleetProcess(tmp_path)
    made.run("up", "-d", "--wait", "--simulate", str(profile))
    call(f"{made.base}/api/copy", {"source": OTHER, "destination": MODEL})
    call(f"{made.base}/api/delete", {"model": OTHER}, method="DELETE")
    made.run("load", MODEL)
    yield made
    made.run("down", "--now", check=False)


async def ask(session, base):
    """One streamed answer: when it was asked for, its text, and whether it came to its end."""
    began_s, text, last = time.monotonic(), "", {}
    async with session.post(f"{base}/api/generate", json=BODY) as answer:
        assert answer.status == 200, await answer.text()
        async for line in answer.content:
            last = json.loads(line)
            text += last.get("response", "")
    return began_s, text, last.get("done", False)


async def under_load(fleet, work):
    """All answers while some work goes on, which is given them, and what that returned."""
    over = asyncio.Event()

    async def client(session):
        while not over.is_set():
            answers.append(await ask(session, fleet.base))

    answers = []
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session, asyncio.TaskGroup() as group:
        for _ in range(CLIENTS):
            group.create_task(client(session))
        try:
            result = await asyncio.to_thread(work, answers)
        finally:
            over.set()
    return answers, result


def digests(fleet):
    """What is in memory by the model's name, by instance."""
    return {
        name: {row["digest"] for row in instance["resident"] if row["name"] == MODEL}
        for name, instance in fleet.instances().items()
    }


def stored(fleet):
    models = call(f"{fleet.base}/api/tags")["models"]
    return next(m["digest"] for m in models if m["name"] == MODEL)


def text_now(fleet):
    answer = call(f"{fleet.base}/api/generate", {**BODY, "stream": False})
    return answer["response"]


def test_no_request_fails_while_all_instances_take_up_new_weights(fleet):
    """Who was asked before gets the old answer to its end, who is asked after it the new one."""
    old_text, old = text_now(fleet), stored(fleet)
    assert all(found == {old} for found in digests(fleet).values())
    control = Control(Directories.find(fleet.environment))
    seen = []

    def look():
        instances = control.status()["instances"]
        seen.append([i["name"] for i in instances if i["reloading"]])
        return instances

    def refresh(answers):
        pulling = fleet.start("pull", "--all", "-o", "json")
        until(lambda: look() and pulling.poll() is not None, seconds=60, what="the pull's end")
        pulled_s = time.monotonic()
        lines, errors = pulling.communicate()
        assert pulling.returncode == 0, errors

        def settled():
            look()
            new = {stored(fleet)}
            return not seen[-1] and all(found == new for found in digests(fleet).values())

        until(settled, seconds=60, what="the new weights everywhere, and only those")
        until(lambda: any(began_s > pulled_s for began_s, _, _ in answers), what="one more answer")
        return [json.loads(line) for line in lines.splitlines()], pulled_s

    answers, (records, pulled_s) = asyncio.run(under_load(fleet, refresh))
    new_text, new = text_now(fleet), stored(fleet)
    outcomes = {r["model"]: r for r in records if "outcome" in r}
    assert outcomes.pop(MODEL) | {"schema_version": 1} == {
        "schema_version": 1,
        "model": MODEL,
        "outcome": "updated",
        "was": [old],
        "now": [new],
    }
    assert {o["outcome"] for o in outcomes.values()} == {"unchanged"}
    assert any("reloading" in r.get("status", "") for r in records)
    assert new_text != old_text
    assert all(done for _, _, done in answers)
    assert {text for _, text, _ in answers} == {old_text, new_text}
    assert {text for began_s, text, _ in answers if began_s > pulled_s} == {new_text}
    assert max(map(len, seen)) <= 1, "one at a time"

    def told(kind):
        return sorted(e["instance"] for e in control.events({"limit": 1000, "kind": kind}))

    everyone = sorted(fleet.instances())
    until(lambda: told(Kind.MODEL_RELOADED) == everyone, what="a turn of each")
    assert not told(Kind.MODEL_RELOAD_FAILED)
    names = [model["name"] for model in call(f"{fleet.base}/api/tags")["models"]]
    assert not [name for name in names if "fleet-reload" in name]
