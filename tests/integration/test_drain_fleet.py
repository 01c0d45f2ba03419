"""Instances of a whole simulated fleet out of rotation and back, as its users would see it."""

import asyncio

import aiohttp
import pytest
from fleet_process import FleetProcess, ask, until

from ollama_fleet.errors import Exit

MODEL = "llama3.1:8b"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    """Four simulated instances that answer at the speed of real ones."""
    made = FleetProcess(tmp_path_factory.mktemp("drain"), OLLAMA_SIM_TIME_SCALE="4")
    made.run("up", "-d", "--wait", "--simulate", "4-mixed")
    yield made
    made.run("down", "--now", check=False)


def given(fleet):
    """Requests that each instance was ever given."""
    return {name: i["requests"] for name, i in fleet.instances().items()}


def test_what_a_drained_instance_has_goes_on_and_the_rest_goes_elsewhere(fleet):
    async def scenario():
        async with aiohttp.ClientSession() as session:
            for tokens in (400, 1600, 6400):  # a busy machine comes too late for a short one
                long = asyncio.create_task(ask(session, fleet.base, MODEL, tokens=tokens))
                busy = await asyncio.to_thread(
                    until, lambda long=long: _busy(fleet) or long.done(), what="one in flight"
                )
                if busy is True:
                    continue
                late = await asyncio.to_thread(
                    fleet.run, "drain", busy, "--reason", "fan", "--timeout", "0.2",
                    check=False,
                )  # fmt: skip
                if late.returncode == Exit.TIMEOUT:
                    break
                await long
                await asyncio.to_thread(fleet.run, "undrain", busy)
            assert late.returncode == Exit.TIMEOUT
            assert f"1 at {busy}" in late.stderr
            before = await asyncio.to_thread(given, fleet)
            more = await asyncio.gather(
                *(ask(session, fleet.base, MODEL, tokens=2) for _ in range(12))
            )
            assert {kind for kind, _ in more} == {"whole"}
            after = await asyncio.to_thread(given, fleet)
            assert after[busy] == before[busy]
            assert sum(after.values()) == sum(before.values()) + 12
            await asyncio.to_thread(fleet.run, "drain", busy, "--reason", "fan", "--wait")
            assert (await long)[0] == "whole"
            return busy

    drained = asyncio.run(scenario())
    shown = fleet.run("status").stdout
    assert f"{drained} is given no requests: fan" in shown
    fleet.run("restart", drained)
    there = fleet.instances()[drained]
    assert (there["phase"], there["drain"], there["starts"]) == ("ready", "fan", 2)
    fleet.run("undrain", drained)
    assert fleet.instances()[drained]["drain"] is None


def test_the_last_one_is_not_drained_unless_forced(fleet):
    names = list(fleet.instances())
    fleet.run("drain", *names[1:])
    refused = fleet.run("drain", names[0], check=False)
    assert refused.returncode == Exit.FAILED
    assert "nobody would be left" in refused.stderr
    fleet.run("drain", names[0], "--force")
    assert all(i["drain"] for i in fleet.instances().values())
    fleet.run("undrain", *names)
    kinds = {event for event in fleet.run("events").stdout.split() if event.endswith("rained")}
    assert kinds >= {"instance_drained", "instance_undrained"}


def test_a_name_that_nobody_has_drains_nobody(fleet):
    refused = fleet.run("drain", "nix", check=False)
    assert refused.returncode == Exit.FAILED
    assert "no instance or group is called nix" in refused.stderr
    assert fleet.run("drain", check=False).returncode == Exit.USAGE


def _busy(fleet):
    return next((name for name, i in fleet.instances().items() if i["in_flight"]), "")
