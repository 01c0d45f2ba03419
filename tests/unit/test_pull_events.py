"""Pulls and syncs as events: each has a begin and one end, whatever becomes of it."""

import asyncio
from contextlib import aclosing

import pytest
from fleet_fixtures import fleet

from ollama_fleet.control.library.jobs import Job
from ollama_fleet.control.library.plan import How, Step, SyncPlan
from ollama_fleet.control.library.telling import told_pull, told_sync
from ollama_fleet.errors import OllamaError


def told(run, *, cancel=False):
    """What a run of a pull for two stores is told as: kinds and texts."""
    state, notices = fleet("a"), []
    state.on_notice.append(notices.append)

    async def check():
        job = Job("key", "m", insecure=False, targets={"/a": "", "/b": ""})
        task = asyncio.create_task(told_pull(state, run)(job))
        await asyncio.sleep(0)
        if cancel:
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return task

    task = asyncio.run(check())
    assert {notice.model for notice in notices} == {"m"}
    return task, [(str(notice.kind), notice.text) for notice in notices]


def test_one_that_succeeds_says_in_how_many_stores_it_is_now():
    async def run(job):
        job.tell({"digest": "sha256:a", "total": 9, "completed": 9})

    _, found = told(run)
    assert found == [
        ("pull_started", "is being pulled"),
        ("pull_ended", "is there, in 2 of 2 stores"),
    ]


def test_each_target_that_has_not_got_it_is_named():
    async def run(job):
        job.failures["/b"] = "b: the disk is full"

    _, found = told(run)
    assert found[1:] == [
        ("pull_target_failed", "could not be brought to b: the disk is full"),
        ("pull_ended", "is there, in 1 of 2 stores"),
    ]


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        (OllamaError("file does not exist"), "could not be pulled: file does not exist"),
        (KeyError("x"), "could not be pulled: the fleet failed: KeyError('x')"),
    ],
)
def test_one_that_fails_says_why_and_fails_all_the_same(fault, text):
    async def run(_job):
        raise fault

    task, found = told(run)
    assert found[1:] == [("pull_failed", text)]
    assert task.exception() is fault


def test_one_that_nobody_waits_for_is_stopped_and_has_not_failed():
    async def run(_job):
        await asyncio.Event().wait()

    task, found = told(run, cancel=True)
    assert [kind for kind, _ in found] == ["pull_started", "pull_stopped"]
    assert task.cancelled()


def test_a_sync_that_has_nothing_to_do_is_no_event():
    state, notices = fleet("a"), []
    state.on_notice.append(notices.append)

    async def nothing():
        for record in ():
            yield record

    async def check():
        return [record async for record in told_sync(state, SyncPlan(), nothing())]

    assert asyncio.run(check()) == []
    assert notices == []


@pytest.mark.parametrize(
    ("records", "end", "text"),
    [
        ([{"model": "m", "status": "success"}], "sync_ended", "stores have been made alike: 1 co"),
        (
            [{"model": "m", "error": "no room"}],
            "sync_failed",
            "stores could not all be made alike: m:",
        ),
    ],
)
def test_a_sync_passes_its_records_on_and_says_how_it_ended(records, end, text):
    state, notices = fleet("a"), []
    state.on_notice.append(notices.append)
    plan = SyncPlan(steps=(Step("m", "/b", "/a", How.LINK, 1),))

    async def carried_out():
        for record in records:
            yield record

    async def check():
        return [record async for record in told_sync(state, plan, carried_out())]

    assert asyncio.run(check()) == records
    assert [str(n.kind) for n in notices] == ["sync_started", end]
    assert notices[1].text.startswith(text)
    assert notices[1].figures["failed"] == (end == "sync_failed")


def test_a_sync_that_its_caller_leaves_is_stopped_and_has_neither_ended_nor_failed():
    state, notices = fleet("a"), []
    state.on_notice.append(notices.append)
    plan = SyncPlan(steps=(Step("m", "/b", "/a", How.LINK, 1),))

    async def unending():
        yield {"model": "m", "status": "copying"}
        await asyncio.Event().wait()

    async def left_between_records():
        async with aclosing(told_sync(state, plan, unending())) as synced:
            await anext(synced)

    async def left_while_waiting():
        synced = told_sync(state, plan, unending())
        await anext(synced)
        waiting = asyncio.ensure_future(anext(synced))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait((waiting,))

    for leave in (left_between_records, left_while_waiting):
        notices.clear()
        asyncio.run(leave())
        assert [str(n.kind) for n in notices] == ["sync_started", "sync_stopped"]
        assert notices[1].figures == {"steps": 1, "removals": 0, "failed": 0}
