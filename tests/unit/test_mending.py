"""Repairs of a hanging instance, on virtual time: which steps are taken, and when it serves."""

import asyncio

import pytest
from fleet_fixtures import resident
from repair_fixtures import Sick
from virtual_time import now, passes, run

from ollama_fleet.state import Phase


async def mended(sick, mending):
    mending.hang(sick.it, "no token")
    while mending.under_way(sick.it):
        await passes(0.1)


@pytest.mark.parametrize(
    ("ails", "steps"),
    [
        ("", ["cancel"]),
        ("unasked", ["cancel"]),
        ("unload", ["cancel", "unload"]),
        ("restart", ["cancel", "unload", "restart"]),
    ],
)
def test_the_mildest_step_that_helps_is_the_last(ails, steps):
    async def check():
        sick = Sick(ails=ails)
        await mended(sick, sick.mending())
        assert sick.steps() == steps
        assert sick.kinds()[-1] == "instance_repaired"
        assert sick.it.drain is None

    run(check())


def test_it_is_given_no_requests_meanwhile_and_those_that_it_has_are_ended():
    async def check():
        sick = Sick(ails="restart")
        attempts = [sick.request(), sick.request(stalled=True)]
        mending = sick.mending()
        mending.hang(sick.it, "no token")
        await passes(1)
        assert sick.it.drain == "hangs: no token"
        assert sick.it not in sick.state.ready(next(iter(sick.it.stored)))
        assert all(attempt.failure for attempt in attempts)
        while mending.under_way(sick.it):
            await passes(0.1)
        assert sick.it in sick.state.ready(next(iter(sick.it.stored)))

    run(check())


def test_a_step_that_did_not_last_is_not_enough_the_next_time():
    """A hang that comes again although cancelling had helped is answered by an unload."""

    async def check():
        sick = Sick()
        mending = sick.mending()
        for _ in range(3):
            await mended(sick, mending)
            await passes(30)
        assert sick.steps() == ["cancel", *("cancel", "unload"), *("cancel", "unload", "restart")]
        assert [what for what, *_ in sick.done if what != "token"] == ["unload", "restart"]
        await passes(700)
        sick.notices.clear()
        await mended(sick, mending)
        assert sick.steps() == ["cancel"], "what is long ago counts no more"

    run(check())


def test_between_two_restarts_lies_a_cooldown_and_until_then_it_is_left_out():
    async def check():
        sick = Sick(ails="restart")
        mending = sick.mending(cooldown="5m")
        await mended(sick, mending)
        sick.ails = "restart"
        mending.hang(sick.it, "no token")
        await passes(120)
        assert sick.it.drain is not None
        while mending.under_way(sick.it):
            await passes(0.1)
        first, second = (at_s for what, _, *at in sick.done if what == "restart" for at_s in at)
        assert second - first >= 300

    run(check())


def test_one_that_answers_again_is_not_left_out_until_it_may_be_restarted_again():
    """Had it been taken for hanging though it was only slow, it would be gone for minutes."""

    async def check():
        sick = Sick()
        mending = sick.mending()
        for _ in range(4):
            sick.rows = (resident("m"),)
            await mended(sick, mending)
            await passes(30)
        assert [what for what, *_ in sick.done].count("restart") == 1
        assert now() < 300, "the cooldown is ten minutes"
        assert sick.it.drain is None
        assert sick.kinds()[-1] == "instance_repaired"

    run(check())


def test_one_on_the_cpu_that_somebody_else_restarts_while_it_drains_is_not_restarted_again():
    async def check():
        sick = Sick()
        attempt, mending = sick.request(), sick.mending()
        assert mending.offload(sick.it, "on the CPU")
        await passes(1)
        attempt.lease.release()
        sick.it.starts += 1
        while mending.under_way(sick.it):
            await passes(0.1)
        assert sick.done == []
        assert sick.it.drain is None

    run(check())


def test_of_several_on_the_cpu_one_at_a_time_is_restarted():
    """What hit them all at once, such as a driver, must not leave clients with nobody."""

    async def check():
        sick = Sick()
        mending, other = sick.mending(), sick.state.instances["b"]
        assert mending.offload(sick.it, "on the CPU")
        assert not mending.offload(other, "on the CPU")
        while mending.under_way(sick.it):
            await passes(0.1)
        assert mending.offload(other, "on the CPU")
        await mending.close()

    run(check())


def test_one_on_the_cpu_whose_requests_take_longer_than_the_drain_is_let_be():
    async def check():
        sick = Sick()
        sick.request()
        mending = sick.mending()
        assert mending.offload(sick.it, "on the CPU")
        while mending.under_way(sick.it):
            await passes(0.1)
        assert sick.done == []
        assert sick.kinds() == ["instance_repair_failed"]
        assert not mending.offload(sick.it, "on the CPU"), "not until the cooldown is over"

    run(check())


def test_one_that_somebody_else_restarts_meanwhile_is_let_be():
    async def check():
        sick = Sick(ails="restart")
        mending = sick.mending()
        await mended(sick, mending)
        sick.ails = "restart"
        mending.hang(sick.it, "no token")
        await passes(100)
        sick.it.starts += 1
        await passes(5)
        assert not mending.under_way(sick.it)
        assert [what for what, *_ in sick.done].count("restart") == 1
        assert sick.it.drain is None

    run(check())


def test_who_comes_in_its_place_by_a_reload_meanwhile_is_in_rotation_when_the_repair_is_over():
    async def check():
        sick = Sick(ails="restart")
        mending = sick.mending()
        mending.hang(sick.it, "no token")
        await passes(1)
        sick.state.set_phase(sick.it, Phase.STOPPED, now())
        heir = sick.state.succeed(sick.it, sick.it.spec)
        assert heir.drain == "hangs: no token"
        while mending.under_way(sick.it):
            await passes(0.1)
        assert heir.drain is None

    run(check())


def test_one_that_no_step_helps_is_told_of_as_such():
    async def check():
        sick = Sick(ails="incurable")
        await mended(sick, sick.mending())
        assert sick.kinds()[-1] == "instance_repair_failed"
        assert sick.it.phase is Phase.FAILED

    run(check())


def test_what_an_operator_has_drained_stays_drained():
    async def check():
        sick = Sick()
        sick.state.drain(sick.it, "by the operator")
        await mended(sick, sick.mending())
        assert sick.it.drain == "by the operator"

    run(check())


def test_one_repair_at_a_time_and_none_while_the_fleet_stops():
    async def check():
        sick = Sick()
        mending = sick.mending()
        mending.hang(sick.it, "no token")
        mending.hang(sick.it, "no token")
        assert not mending.offload(sick.it, "on the CPU")
        await passes(20)
        assert sick.steps() == ["cancel"]
        sick.state.stopping = True
        mending.hang(sick.it, "no token")
        assert not mending.under_way(sick.it)

    run(check())


def test_a_repair_that_is_broken_off_leaves_nothing_behind():
    async def check():
        sick = Sick(ails="restart")
        mending = sick.mending()
        mending.hang(sick.it, "no token")
        await passes(3)
        await mending.close()
        assert not mending.under_way(sick.it)
        assert sick.it.drain is None
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(check())


def test_a_restart_for_the_gpus_sake_waits_for_requests_and_comes_once_per_cooldown():
    async def check():
        sick = Sick()
        request = sick.request()
        mending = sick.mending()
        assert mending.offload(sick.it, "runs on the CPU")
        await passes(10)
        assert sick.it.drain == "runs on the CPU"
        assert not sick.done
        request.lease.release()
        await passes(10)
        assert [what for what, *_ in sick.done] == ["restart"]
        assert now() < 30
        assert not mending.offload(sick.it, "runs on the CPU")
        await passes(600)
        assert mending.offload(sick.it, "runs on the CPU")
        await mending.close()

    run(check())


def test_requests_that_take_longer_than_the_drain_are_not_cut_for_it():
    async def check():
        sick = Sick()
        request = sick.request()
        mending = sick.mending()
        mending.offload(sick.it, "runs on the CPU")
        await passes(60)
        assert not sick.done
        assert sick.it.drain is None
        assert sick.kinds() == ["instance_repair_failed"]
        request.lease.release()

    run(check())
