"""The lock of a store, among fleets of one machine: here, processes."""

import asyncio
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from fleet_of_stores import state_over

from ollama_fleet.control.mutations import Mutations
from ollama_fleet.control.stores.lock import StoreLock

HOLDER = """
import asyncio, sys
from pathlib import Path
from ollama_fleet.control.stores.lock import StoreLock

async def main():
    async with StoreLock(Path(sys.argv[1]), Path(sys.argv[2])).held(alone=sys.argv[3] == "alone"):
        print("held", flush=True)
        sys.stdin.readline()

asyncio.run(main())
"""


@contextmanager
def another(store, elsewhere, how):
    """Another process that holds the lock until it is told to let go, or killed."""
    command = [sys.executable, "-c", HOLDER, store, elsewhere, how]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        try:
            yield process
        finally:
            process.kill()


async def nothing(_store):
    """Nobody asks what a store holds."""


def mutations(tmp_path, *stores):
    return Mutations(state_over(*map(str, stores)), nothing, tmp_path / "locks")


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


async def entered(turn):
    async with turn:
        return True


@pytest.mark.parametrize(
    ("theirs", "ours", "waits"),
    [("shared", "adding", False), ("shared", "removing", True), ("alone", "adding", True),
     ("alone", "removing", True), ("alone", "removals", True), ("shared", "removals", False)],
)  # fmt: skip
def test_additions_share_and_a_removal_is_alone_among_fleets(tmp_path, theirs, ours, waits):
    store = tmp_path / "store"

    async def run(process):
        changes = mutations(tmp_path, store)
        turn = getattr(changes, ours)(str(store))
        task = asyncio.create_task(turn if ours == "removals" else entered(turn))
        done, _ = await asyncio.wait([task], timeout=0.3 if waits else 30)
        assert bool(done) is not waits
        process.stdin.close()
        async with asyncio.timeout(30):
            await task

    with another(store, tmp_path / "locks", theirs) as process:
        asyncio.run(run(process))


def test_who_dies_lets_go(tmp_path):
    store = tmp_path / "store"

    async def run(process):
        turn = asyncio.create_task(entered(mutations(tmp_path, store).removing(str(store))))
        await asyncio.wait([turn], timeout=0.1)
        assert not turn.done()
        process.kill()
        async with asyncio.timeout(30):
            await turn

    with another(store, tmp_path / "locks", "shared") as process:
        asyncio.run(run(process))


def test_a_removal_by_another_fleet_is_counted_as_one_of_ours_is(tmp_path):
    store = tmp_path / "store"

    async def run():
        changes = mutations(tmp_path, store)
        before = await changes.removals(str(store))
        async with changes.adding(str(store)):
            pass
        assert await changes.removals(str(store)) == before
        async with mutations(tmp_path, store).removing(str(store)):
            pass
        between = await changes.removals(str(store))
        assert between > before
        async with changes.removing(str(store)):
            pass
        assert await changes.removals(str(store)) > between

    asyncio.run(run())


def test_who_gives_up_waiting_holds_nothing(tmp_path):
    store = tmp_path / "store"

    async def run(process):
        changes = mutations(tmp_path, store)
        for pause_s in (0.0, 0.001, 0.02, 0.1):
            task = asyncio.create_task(entered(changes.removing(str(store))))
            await asyncio.wait([task], timeout=pause_s)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        process.stdin.close()
        async with asyncio.timeout(30):
            await entered(changes.removing(str(store)))
            await entered(changes.adding(str(store)))

    with another(store, tmp_path / "locks", "alone") as process:
        before = open_files()
        asyncio.run(run(process))
        assert open_files() <= before


def test_only_one_fleet_downloads_into_a_store_and_removals_take_no_notice(tmp_path):
    store = str(tmp_path / "store")

    async def run():
        ours, theirs, told = mutations(tmp_path, store), mutations(tmp_path, store), []

        async def theirs_runs():
            async with theirs.pulling(store, waiting=lambda: told.append("waiting")):
                told.append("running")

        async with asyncio.timeout(30):
            async with ours.pulling(store), ours.pulling(store), ours.removing(store):
                task = asyncio.create_task(theirs_runs())
                while not told:
                    await asyncio.sleep(0.01)
                gives_up = asyncio.create_task(theirs_runs())
                await asyncio.wait([gives_up], timeout=0.1)
                gives_up.cancel()
                await entered(ours.pulling(store))
                assert told == ["waiting"], "one of ours that ends lets no other fleet in"
            await task
            await entered(ours.pulling(store))
        assert told == ["waiting", "running"]

    asyncio.run(run())


def test_a_download_that_gives_up_waiting_leaves_the_store_to_the_next(tmp_path):
    store = str(tmp_path / "store")

    async def run():
        ours, theirs = mutations(tmp_path, store), mutations(tmp_path, store)
        async with asyncio.timeout(30):
            async with ours.pulling(store):
                waiting = [asyncio.create_task(entered(theirs.pulling(store))) for _ in range(3)]
                await asyncio.wait(waiting, timeout=0.1)
                waiting[0].cancel()
                await asyncio.wait(waiting[:1])
            assert await asyncio.gather(*waiting[1:]) == [True, True]

    asyncio.run(run())


def test_a_turn_comes_though_copies_have_all_threads_that_others_share(tmp_path):
    store, release = str(tmp_path / "store"), threading.Event()

    async def run():
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        copying = loop.run_in_executor(None, release.wait)
        try:
            async with asyncio.timeout(30):
                await entered(mutations(tmp_path, store).removing(store))
        finally:
            release.set()
            await copying

    asyncio.run(run())


def test_stores_and_their_locks_do_not_wait_for_one_another(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"

    async def run():
        async with asyncio.timeout(30), mutations(tmp_path, one, other).removing(str(one)):
            await entered(mutations(tmp_path, one, other).removing(str(other)))

    asyncio.run(run())


def test_a_store_that_cannot_be_written_is_locked_elsewhere(tmp_path):
    """Here because a file stands where the store would be."""
    store = tmp_path / "store"
    store.write_text("no folder")

    async def run():
        lock = StoreLock(store, tmp_path / "locks")
        async with lock.held(alone=True):
            assert len(list((tmp_path / "locks").iterdir())) == 1
            waiting = asyncio.create_task(entered(lock.held(alone=False)))
            await asyncio.wait([waiting], timeout=0.2)
            assert not waiting.done()
        async with asyncio.timeout(30):
            assert await waiting
        assert await lock.removals() == 1

    asyncio.run(run())


def test_where_nothing_can_be_locked_work_goes_on_and_that_is_said(tmp_path, caplog):
    (tmp_path / "file").write_text("")

    async def run():
        lock = StoreLock(tmp_path / "file" / "store", tmp_path / "file" / "locks")
        async with lock.held(alone=True):
            assert await lock.removals() == 0

    asyncio.run(run())
    assert "cannot be locked" in caplog.text


def test_stores_of_external_instances_are_not_touched(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    async def run():
        changes = mutations(tmp_path, "http://far")
        async with changes.removing("http://far"):
            pass
        assert await changes.removals("http://far") == 1

    asyncio.run(run())
    assert list(tmp_path.iterdir()) == []
