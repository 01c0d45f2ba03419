"""A whole simulated fleet mends itself: what its clients see of it, and what is told."""

import json
import os
import signal
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest
from cli_fixtures import Cli, until

from ollama_fleet.cli.control import Control
from ollama_fleet.directories import Directories

MODEL = "tiny:latest"


@pytest.fixture
def cli(tmp_path):
    cli = Cli(tmp_path)
    cli.environ |= {
        "FLEET_SUPERVISION__PROBE_INTERVAL": "200ms",
        "FLEET_ROUTING__STRATEGY": "round_robin",
        "OLLAMA_SIM_FAULTS": "",  # they take others later
    }
    yield cli
    cli.end()


def up(cli):
    done = cli.run(*cli.up, "--wait", "--wait-timeout", "80s")
    assert done.code == 0, done.err
    assert cli.run("pull", "tiny").code == 0


def instances(cli):
    """The snapshot's, without a process for each look."""
    return Control(Directories.find(cli.environ)).status()["instances"]


def faults(instance, script):
    request = urllib.request.Request(f"{instance['url']}/sim/faults", script.encode())
    urllib.request.urlopen(request, timeout=60).close()


def ask(cli, tokens=4, timeout_s=60):
    body = {"model": MODEL, "prompt": "hi", "options": {"num_predict": tokens}}
    url = f"http://127.0.0.1:{cli.port}/api/generate"
    with urllib.request.urlopen(url, json.dumps(body).encode(), timeout=timeout_s) as answer:
        last = answer.read().splitlines()[-1]
    return answer.headers["X-Fleet-Instance"], json.loads(last)


def steps(cli):
    told = cli.run("events", "-o", "json", "--kind", "instance_repair").out.splitlines()
    figures = [json.loads(line)["figures"] for line in told]
    return [(each["reason"], each["stage"]) for each in figures]


def test_requests_at_an_instance_that_hangs_are_answered_by_another(cli):
    """It answers probes, and gives no token: of the requests that it swallowed none is lost."""
    cli.environ["FLEET_REPAIR__HANG_AFTER"] = "3s"
    up(cli)
    first = instances(cli)[0]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: ask(cli, tokens=400), range(2)))  # their GPUs are seen at work
        faults(first, "hang:times=2")
        answers = list(pool.map(lambda _: ask(cli), range(4)))
    assert all(last["done"] for _, last in answers)
    assert steps(cli)[0] == ("hang", "cancel")
    until(lambda: all(i["drain"] is None for i in instances(cli)), "its return")
    counted = f'repairs_total{{instance="{first["name"]}",reason="hang",stage="cancel"}} '
    assert counted in cli.run("metrics").out


def test_a_model_that_fell_to_the_cpu_comes_back_to_the_gpu_by_one_restart(cli):
    up(cli)
    first, second = instances(cli)
    faults(first, "cpu_fallback:model=tiny")
    assert cli.run("load", "tiny", "--on", first["name"]).code == 0
    until(lambda: ("offload", "restart") in steps(cli), "a restart")

    def again():
        now = instances(cli)[0]
        return now if now["starts"] == 2 and now["phase"] == "ready" else None

    until(again, "its return")
    assert instances(cli)[1]["starts"] == 1, second["name"]
    assert cli.run("load", "tiny", "--on", first["name"]).code == 0

    def on_the_gpu():
        resident = instances(cli)[0]["resident"]
        return resident and resident[0]["size_vram"] == resident[0]["size"]

    until(on_the_gpu, "the model on the GPU")
    assert steps(cli) == [("offload", "restart")]


def test_an_instance_that_is_stopped_is_left_out_at_once_and_back_when_it_goes_on(cli):
    """SIGSTOP and SIGCONT, before its supervisor would restart it."""
    cli.environ["FLEET_SUPERVISION__PROBE_FAILURES"] = "1000"
    up(cli)
    assert cli.run("load", "tiny").code == 0
    first, second = instances(cli)
    os.kill(first["pid"], signal.SIGSTOP)
    try:
        until(lambda: instances(cli)[0]["health"] == "unhealthy", "the news of it")
        assert {ask(cli)[0] for _ in range(6)} == {second["name"]}
    finally:
        os.kill(first["pid"], signal.SIGCONT)
    until(lambda: instances(cli)[0]["health"] == "healthy", "its return")
    until(lambda: ask(cli)[0] == first["name"], "a request for it")
    assert instances(cli)[0]["starts"] == 1
    assert steps(cli) == []
