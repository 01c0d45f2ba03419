"""What happens to a whole simulated fleet is told by `fleet events`."""

import json
import os
import signal
import urllib.request

import pytest
from cli_fixtures import Cli, until

MODEL = "tiny:latest"


@pytest.fixture
def cli(tmp_path):
    cli = Cli(tmp_path)
    yield cli
    cli.end()


def up(cli, scale="50"):
    cli.environ["OLLAMA_SIM_TIME_SCALE"] = scale
    cli.environ["FLEET_ROUTING__STRATEGY"] = "round_robin"
    done = cli.run(*cli.up, "--wait", "--wait-timeout", "50s")
    assert done.code == 0, done.err


def events(cli, *arguments):
    done = cli.run("events", "-o", "json", *arguments)
    assert done.code == 0, done.err
    return [json.loads(line) for line in done.out.splitlines()]


def kinds(told):
    return [event["kind"] for event in told]


def test_an_instance_that_is_killed_tells_of_its_exit_its_pause_and_its_next_start(cli):
    up(cli)
    before = events(cli)[-1]["number"]
    instance = cli.status()["instances"][0]
    os.kill(instance["pid"], signal.SIGKILL)

    def told():
        later = events(cli, "--instance", instance["name"])
        own = [event for event in later if event["number"] > before]
        return own if "instance_ready" in kinds(own) else None

    own = until(told, "it is ready again")
    assert [kind for kind in kinds(own) if kind.startswith("instance_")] == [
        "instance_exited",
        "instance_backoff",
        "instance_starting",
        "instance_ready",
    ]
    assert "SIGKILL" in own[0]["text"]
    assert own[0]["figures"] == {"pid": instance["pid"]}
    assert {event["instance"] for event in own} == {instance["name"]}


def test_what_happened_is_remembered_over_a_restart_and_followed_to_the_end(cli):
    """Numbers go on; whoever follows is told of the end, and then is done; or leaves before."""
    up(cli)
    with cli.running("events", "-f", "--tail", "1", text=True) as leaver:
        assert leaver.stdout.readline()
        leaver.send_signal(signal.SIGINT)
        assert (leaver.wait(60), leaver.stderr.read().strip()) == (130, "")
    with cli.running("events", "-f", "-o", "json", "--tail", "1", text=True) as follower:
        first = json.loads(follower.stdout.readline())
        assert cli.run("down").code == 0
        followed = [first, *map(json.loads, follower.stdout)]
        assert follower.wait(60) == 0
    assert followed[-1]["kind"] == "fleet_stopped"
    numbers = [event["number"] for event in followed]
    assert numbers == [*range(numbers[0], numbers[0] + len(numbers))]
    up(cli)
    told = events(cli)
    assert [event["number"] for event in told] == [*range(1, len(told) + 1)]
    assert kinds(told).count("fleet_started") == 2
    assert {"fleet_stopping", "fleet_stopped", "instance_ready"} < set(kinds(told))
    lines = cli.run("events", "--kind", "fleet_started").out.splitlines()
    assert [line.split()[2] for line in lines] == ["fleet_started"] * 2
    log = (cli.state / "logs" / "fleet.log").read_text()
    assert '"kind": "fleet_started"' in log


def test_an_instance_that_has_become_slow_raises_an_anomaly_that_names_it_and_ends_with_it(cli):
    """The event has the model and how long its tokens took, usually and of late.

    One request at a time, and in turns: what runs beside others is compared with what has run
    beside as many, and how many these are would be for the machine to decide.
    """
    cli.environ["OLLAMA_SIM_FAULTS"] = ""  # it takes others later
    up(cli, scale="2")  # a token takes so long that a busy machine adds little to it
    assert cli.run("pull", "tiny").code == 0
    assert cli.run("load", "tiny").code == 0  # on both, or one has all the turns
    slow = cli.status()["instances"][1]

    def ask():
        body = {"model": MODEL, "prompt": "tell me", "options": {"num_predict": 8}}
        url = f"http://127.0.0.1:{cli.port}/api/generate"
        with urllib.request.urlopen(url, json.dumps(body).encode(), timeout=60) as answer:
            answer.read()

    def load(requests):
        for _ in range(requests):
            ask()

    def faults(script):
        request = urllib.request.Request(f"{slow['url']}/sim/faults", script, method="POST")
        urllib.request.urlopen(request, timeout=10).close()

    def told(kind):
        found = events(cli, "--kind", kind, "--instance", slow["name"])
        return [each for each in found if each["figures"]["measure"] == "token_s"]

    load(60)
    assert told("anomaly") == []
    faults(b"slow:factor=5")
    (anomaly,) = until(lambda: load(10) or told("anomaly"), "the anomaly")
    assert (anomaly["instance"], anomaly["model"]) == (slow["name"], MODEL)
    figures = anomaly["figures"]
    assert 2.5 < figures["now"] / figures["usual"] < 15
    assert figures["requests"] <= 32
    assert figures["learned"] >= 16
    assert anomaly["severity"] == "warning"
    faults(b"")
    (over,) = until(lambda: load(20) or told("anomaly_over"), "its end")
    assert (over["instance"], over["model"]) == (slow["name"], MODEL)
    assert over["figures"]["now"] / over["figures"]["usual"] < 1.5


def test_a_pull_and_a_model_on_the_cpu_are_told_of(cli):
    """The pull by its model, the fallback by its instance, too, before anybody looks for it."""
    cli.environ["OLLAMA_SIM_FAULTS"] = "cpu_fallback"
    cli.environ["FLEET_REPAIR__OFFLOAD"] = "false"  # or it is restarted, and falls back once more
    up(cli)
    assert cli.run("pull", "tiny").code == 0
    assert cli.run("pull", "nosuch:1b").code == 1
    name = cli.status()["instances"][0]["name"]
    assert cli.run("load", "tiny", "--on", name).code == 0

    def fallback():
        return events(cli, "--kind", "cpu_fallback", "--instance", name)

    (told,) = until(fallback, "the fallback is told")
    assert (told["severity"], told["model"]) == ("error", MODEL)
    assert told["figures"]["vram_bytes"] == 0
    pulls = [(e["kind"], e["model"]) for e in events(cli) if e["kind"].startswith("pull_")]
    assert pulls == [
        ("pull_started", "tiny"),
        ("pull_ended", "tiny"),
        ("pull_started", "nosuch:1b"),
        ("pull_failed", "nosuch:1b"),
    ]
