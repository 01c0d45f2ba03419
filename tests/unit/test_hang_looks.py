"""What is seen of an instance when it is looked at for a hang, on virtual time."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace

from repair_fixtures import Sick, card
from virtual_time import now, passes, run

from ollama_fleet.config import RepairConfig
from ollama_fleet.control.repair.evidence import Work
from ollama_fleet.control.repair.hangs import LOOK_S, Hangs
from ollama_fleet.control.repair.signs import Signs
from ollama_fleet.gpu import GpuReading, GpuSample

CARDS = (card(0), card(1))


def utilisation(*ratios):
    readings = (GpuReading(f"GPU-{n}", 1, ratio) for n, ratio in enumerate(ratios))
    return GpuSample(tuple(readings))


async def hung_after_s(*samples, gpus=CARDS, cpus=0.0, vram_bytes=1):
    """When one that gives no token is to be repaired, the last sample being that of the rest."""
    sick, found = Sick(gpus=gpus), []

    class Mends:
        def under_way(self, _instance):
            return bool(found)

        def hang(self, _instance, _evidence):
            found.append(now())

    async def work(leaders, _now_s):
        return dict.fromkeys(leaders, Work(cpus, 0.0))

    sick.request()
    made = RepairConfig()
    signs = Signs(sick.state, now)
    hangs = Hangs(
        sick.state, made, Mends(), signs, None, clock=now, read_work=work, simulated=False
    )
    sick.rows = tuple(replace(row, size_bytes=1, vram_bytes=vram_bytes) for row in sick.rows)
    sick.state.set_resident(sick.it, sick.rows)
    sick.state.on_gpus.append(hangs.read)
    began_s = now()
    for number in range(400):
        sick.state.set_gpus(samples[min(number, len(samples) - 1)])
        await hangs.look()
        if found:
            return found[0] - began_s
        await passes(LOOK_S)
    return None


def test_whether_anybody_looks_can_change_while_it_runs():
    async def check():
        sick, found = Sick(gpus=CARDS), []
        mends = SimpleNamespace(
            under_way=lambda _: bool(found), hang=lambda *_: found.append(now())
        )

        async def work(leaders, _now_s):
            return dict.fromkeys(leaders, Work(0.0, 0.0))

        sick.request()
        hangs = Hangs(
            sick.state, RepairConfig(hangs=False), mends, Signs(sick.state, now), None,
            clock=now, read_work=work, simulated=False,
        )  # fmt: skip
        sick.state.on_gpus.append(hangs.read)
        for sample in (BUSY, IDLE):
            sick.state.set_gpus(sample)
        looking = asyncio.create_task(hangs.run())
        await passes(600)
        assert not found
        hangs.retune(RepairConfig())
        await passes(90)
        assert len(found) == 1
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)

    run(check())


IDLE, BUSY = utilisation(0.0, 0.0), utilisation(0.9, 0.0)


def test_a_meter_that_has_moved_is_believed_when_it_stands_still():
    async def check():
        assert 60 <= await hung_after_s(BUSY, IDLE) < 70
        assert 300 <= await hung_after_s(BUSY, IDLE, cpus=1.0) < 310

    run(check())


def test_a_meter_that_has_never_moved_is_none():
    """One stuck at 0 % would have a GPU at work for minutes taken for one that hangs."""

    async def check():
        assert await hung_after_s(IDLE) >= 300, "quiet CPUs alone prove little"
        assert await hung_after_s(IDLE, cpus=1.0) is None

    run(check())


def test_without_a_reading_of_each_of_its_gpus_only_cpus_that_are_quiet_for_long_count():
    async def check():
        for sample in (GpuSample(error="no driver"), utilisation(0.0), utilisation(0.0, None)):
            assert await hung_after_s(BUSY, sample) >= 300
            assert await hung_after_s(BUSY, sample, cpus=1.0) is None

    run(check())


def test_without_a_gpu_cpus_tell_all():
    async def check():
        on_cpu = {"gpus": (), "vram_bytes": 0}
        assert 60 <= await hung_after_s(GpuSample(), **on_cpu) < 70
        assert await hung_after_s(GpuSample(), **on_cpu, cpus=1.0) is None

    run(check())


def test_a_gpu_that_is_none_of_the_fleets_may_be_at_work_while_cpus_are_quiet():
    """Metal on a Mac: its models are in GPU memory, and nobody can read that GPU."""

    async def check():
        assert await hung_after_s(GpuSample(), gpus=()) >= 300

    run(check())
