"""Repairs as a whole: what they listen to, and what they keep."""

from dataclasses import replace

from fleet_fixtures import resident
from repair_fixtures import Sick, card
from virtual_time import now, passes, run

from ollama_fleet.config import RepairConfig
from ollama_fleet.control.repair import Repairs
from ollama_fleet.gpu import GpuReading, GpuSample
from ollama_fleet.state import Completed, Phase


def repairs(sick, **settings):
    return Repairs(
        sick.state,
        lambda _: sick,
        sick,
        sick.restart,
        RepairConfig(**settings),
        drain_s=30.0,
        clock=now,
        simulated=False,
    )


def test_of_an_instance_that_has_left_nothing_is_kept():
    async def check():
        sick = Sick(gpus=(card(0),))
        sick.rows = (replace(resident("m"), size_bytes=2**30, vram_bytes=0),)
        sick.state.set_resident(sick.it, sick.rows)
        made = repairs(sick)
        async with made:
            lease = sick.request().lease
            sick.state.outcome(lease, Completed(200))
            lease.release()
            made._signs.quiet_s(sick.it)
            for _ in range(2):  # its model is on the CPU, and would fit
                sick.state.set_gpus(GpuSample((GpuReading("GPU-0", 0, 0.5),)))
            await passes(5)
            assert ("restart", "a") in [tuple(done[:2]) for done in sick.done]
            sick.state.set_phase(sick.it, Phase.STOPPED, now())
            sick.state.leave(sick.it)
            kept = [made._signs._answers, made._signs._last, made._offloads._found]
            assert not any(sick.it in each for each in kept)
            assert not made._offloads._tried
            assert not made._mending._past

    run(check())


def test_what_a_running_fleet_is_told_of_repairs_holds_from_the_next_look_on():
    async def check():
        sick = Sick(gpus=(card(0),))
        sick.rows = (replace(resident("m"), size_bytes=2**30, vram_bytes=0),)
        sick.state.set_resident(sick.it, sick.rows)

        async def restarts():
            for _ in range(2):  # its model is on the CPU, and would fit
                sick.state.set_gpus(GpuSample((GpuReading("GPU-0", 0, 0.5),)))
            await passes(5)
            return sum(done[0] == "restart" for done in sick.done)

        async with repairs(sick, offload=False) as made:
            assert await restarts() == 0
            made.retune(RepairConfig(), drain_s=30.0)
            assert await restarts() == 1

    run(check())


def test_outside_of_them_nobody_listens():
    async def check():
        sick = Sick()
        before = [len(heard) for heard in listened(sick.state)]
        async with repairs(sick):
            assert [len(heard) for heard in listened(sick.state)] != before
        assert [len(heard) for heard in listened(sick.state)] == before

    run(check())


def listened(state):
    return state.on_left, state.on_gpus, state.on_outcome
