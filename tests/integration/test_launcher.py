"""Starting and ending real processes, under both event loops."""

import asyncio
import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from control_fixtures import (  # noqa: F401 - subreaper is a fixture
    PROGRAM,
    is_alive,
    is_empty,
    launcher,
    number_in,
    on_both_loops,
    open_files,
    subreaper,
    until,
)

from ollama_fleet.control import child as child_module
from ollama_fleet.control import shim
from ollama_fleet.control.child import bury_and_look
from ollama_fleet.control.processes import find_process, living_members

pytestmark = pytest.mark.usefixtures("subreaper")


PYTHONS = 1 << 24 | 1 << 12  # SIGXFSZ and SIGPIPE, which Python ignores from its start


def ignored_by_whoever_started_us():
    """Such as SIGHUP by nohup: what it means to protect from it is protected."""
    status = Path("/proc/self/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("SigIgn"))
    return int(line.split()[1], 16) & ~PYTHONS


@on_both_loops
def test_a_program_gets_exactly_what_it_was_given(run, tmp_path):
    """Its environment, no signal ignored by us, no input, no descriptor of ours, its own group."""
    told = tmp_path / "told"
    given = {"B": "x=y", "A": "", "UMLAUT": "ü"}

    async def scenario():
        async with launcher(tmp_path) as start:
            child = start.start("i", (*PROGRAM, "--tell", str(told), "--exit", "0", "a b"), given)
            assert await child.wait() == 0
            assert await child.stop(5) == ()
            return child

    child = run(scenario())
    facts = json.loads(told.read_text())
    entries = dict(e.split("=", 1) for e in facts["environment"].split("\0") if e)
    assert entries == given
    assert facts["ignored"] & ~PYTHONS == ignored_by_whoever_started_us()
    assert facts["stdin"] == "/dev/null"
    assert facts["fds"] == ["0", "1", "2"]
    assert facts["ids"] == [child.pid] * 3
    assert facts["arguments"][-1] == "a b"


def test_no_signal_is_ignored_by_a_program_that_is_not_python(tmp_path):
    async def scenario():
        async with launcher(tmp_path) as start:
            child = start.start("i", ("/bin/grep", "SigIgn", "/proc/self/status"), {})
            assert await child.wait() == 0
            await child.stop(5)
            return await child.tail(1)

    (line,) = asyncio.run(scenario())
    assert int(line.split()[1], 16) == ignored_by_whoever_started_us()


@on_both_loops
def test_an_exit_is_told_to_everyone_who_waits(run, tmp_path):
    async def scenario():
        async with launcher(tmp_path) as start:
            child = start.start("i", (*PROGRAM, "--say", "bye", "--exit", "7"), {})
            assert await asyncio.gather(child.wait(), child.wait()) == [7, 7]
            assert await child.wait() == 7
            assert await child.tail(1) == ("bye",)
            await child.stop(5)
            killed = start.start("i", PROGRAM, {})
            os.kill(killed.pid, signal.SIGKILL)
            assert await killed.wait() == -signal.SIGKILL
            await killed.stop(5)

    run(scenario())


@pytest.mark.parametrize(
    ("program", "code", "words"),
    [
        ("/no/such/program", 127, "No such file or directory"),
        ("no-such-program-on-the-path", 127, "No such file or directory"),
        ("/etc/passwd", 126, "Permission denied"),
        ("/tmp", 126, "Permission denied"),
    ],
)
def test_a_program_that_cannot_be_executed_is_told_apart(tmp_path, program, code, words):
    """127 for a missing program, 126 for one that is no program, and a line that says it."""

    async def scenario():
        async with launcher(tmp_path) as start:
            child = start.start("i", (program, "serve"), {"PATH": "/usr/bin:/bin"})
            assert await child.wait() == code
            await child.stop(5)
            return await child.tail(5)

    first, last = asyncio.run(scenario())
    assert first == f"[fleet] start: {program} serve"
    assert last == f"[fleet] cannot execute {program}: {words}"


@on_both_loops
def test_one_that_ignores_term_is_killed_at_the_deadline(run, tmp_path):
    async def scenario():
        async with launcher(tmp_path) as start:
            ready = tmp_path / "ready"
            child = start.start("i", (*PROGRAM, "--ignore-term", "--tell", str(ready)), {})
            await until(ready.exists)
            began_s = time.monotonic()
            assert await child.stop(0.4) == ()
            took_s = time.monotonic() - began_s
            assert await child.wait() == -signal.SIGKILL
            assert is_empty(child.pid)
            return took_s

    assert 0.3 < run(scenario()) < 10.0


@on_both_loops
def test_asking_again_with_less_time_shortens_the_grace(run, tmp_path):
    async def scenario():
        async with launcher(tmp_path) as start:
            ready = tmp_path / "ready"
            child = start.start("i", (*PROGRAM, "--ignore-term", "--tell", str(ready)), {})
            await until(ready.exists)
            began_s = time.monotonic()
            patient = asyncio.create_task(child.stop(60))
            await until(lambda: child._patience is not None, "the grace")
            assert await child.stop(0.1) == ()
            assert await patient == ()
            return time.monotonic() - began_s

    assert run(scenario()) < 10.0


@on_both_loops
def test_grandchildren_end_with_a_child_and_none_stays_a_zombie(run, tmp_path):
    """Also when the child itself was killed and could end nobody."""

    async def scenario(number):
        file = tmp_path / f"runner-{number}"
        async with launcher(tmp_path) as start:
            child = start.start("i", (*PROGRAM, "--runner", str(file)), {})
            runner = await number_in(file)
            if number == signal.SIGKILL:
                os.kill(child.pid, number)
                assert await child.wait() == -number
                assert is_alive(runner), "a runner does not end by itself"
            assert await child.stop(5) == ()
            assert is_empty(child.pid)
            assert not is_alive(runner)

    run(scenario(signal.SIGTERM))
    run(scenario(signal.SIGKILL))


def test_one_that_dies_between_two_looks_is_buried_too(tmp_path, monkeypatch):
    """A busy machine ends it after the look for the dead, and before that for the living."""
    looks = []

    def first_sees_it_alive(pgid):
        looks.append(pgid)
        return len(looks) == 1 or bury_and_look(pgid)

    monkeypatch.setattr(child_module, "_SCAN_AFTER_S", 0.0)
    monkeypatch.setattr(child_module, "bury_and_look", first_sees_it_alive)

    async def scenario():
        file = tmp_path / "runner"
        async with launcher(tmp_path) as start:
            child = start.start("i", (*PROGRAM, "--runner", str(file)), {})
            runner = await number_in(file)

            def once_it_is_dead(leader):
                while is_alive(runner):
                    time.sleep(0.005)
                return living_members(leader)

            monkeypatch.setattr(child_module, "living_members", once_it_is_dead)
            assert await child.stop(5) == ()
            assert is_empty(child.pid)

    asyncio.run(scenario())


def test_a_stopped_program_can_still_be_asked_to_end(tmp_path):
    """TERM is followed by CONT: one that handles TERM, as Ollama does, would wait for that."""

    async def scenario():
        async with launcher(tmp_path) as start:
            ready = tmp_path / "ready"
            child = start.start("i", (*PROGRAM, "--obey-term", "--tell", str(ready)), {})
            await until(ready.exists)
            os.kill(child.pid, signal.SIGSTOP)
            await until(lambda: find_process(child.pid).state == "T", "the stop")
            assert await child.stop(60) == ()
            assert await child.wait() == 0

    asyncio.run(scenario())


@on_both_loops
def test_an_end_goes_on_when_the_caller_is_cancelled(run, tmp_path):
    async def scenario():
        async with launcher(tmp_path) as start:
            child = start.start("i", PROGRAM, {})
            caller = asyncio.create_task(child.stop(5))
            await asyncio.sleep(0)
            caller.cancel()
            await until(lambda: is_empty(child.pid), "the end of the group")
            assert await child.stop(5) == ()

    run(scenario())


def test_a_test_that_fails_leaves_no_stopped_program(tmp_path):
    """The fixture's promise: a program that is stopped outlives the death of its parent."""

    async def scenario(children):
        async with launcher(tmp_path) as start:
            ready = tmp_path / "ready"
            children.append(start.start("i", (*PROGRAM, "--tell", str(ready)), {}))
            await until(ready.exists)
            os.kill(children[0].pid, signal.SIGSTOP)
            raise LookupError

    children = []
    with pytest.raises(LookupError):
        asyncio.run(scenario(children))
    assert children[0]._popen.wait(20) == -signal.SIGKILL


def test_a_loop_that_is_shut_down_in_the_middle_kills(tmp_path):
    """Nothing is left running because nobody had the time to wait for it."""

    async def scenario():
        async with launcher(tmp_path) as start:
            file = tmp_path / "runner"
            child = start.start("i", (*PROGRAM, "--ignore-term", "--runner", str(file)), {})
            await number_in(file)
            stopping = asyncio.create_task(child.stop(60))
            await asyncio.sleep(0)
            stopping.cancel()
            return child

    child = asyncio.run(scenario())
    assert child._popen.wait(20) == -signal.SIGKILL


@on_both_loops
def test_exits_are_noticed_without_pidfds_too(run, tmp_path, monkeypatch):
    def refuse(_pid):
        raise OSError(errno.ENOSYS, "not implemented")

    monkeypatch.setattr(os, "pidfd_open", refuse)

    async def scenario():
        async with launcher(tmp_path) as start:
            child = start.start("i", (*PROGRAM, "--exit", "4"), {})
            assert await child.wait() == 4
            assert await child.stop(5) == ()

    run(scenario())


def test_children_are_started_from_the_main_thread_only(tmp_path):
    """The kernel ends a child with the thread that started it."""

    async def scenario():
        async with launcher(tmp_path) as start:
            with pytest.raises(RuntimeError, match="main thread"):
                await asyncio.to_thread(start.start, "i", PROGRAM, {})

    asyncio.run(scenario())


def test_the_shim_starts_nothing_for_a_parent_that_is_gone(tmp_path):
    marker = tmp_path / "ran"
    argv = [sys.executable, "-I", "-S", shim.__file__, "1", "", "", "/bin/touch", str(marker)]
    assert subprocess.run(argv, check=False).returncode == 128 + signal.SIGTERM
    assert not marker.exists()


@on_both_loops
def test_a_life_costs_no_file_descriptor(run, tmp_path):
    async def scenario():
        async with launcher(tmp_path) as start:

            async def live():
                child = start.start("i", (*PROGRAM, "--exit", "0"), {})
                await child.wait()
                await child.stop(5)
                await child.tail(1)

            await live()
            before = open_files()
            for _ in range(3):
                await live()
            await until(lambda: open_files() == before, "the old count")

    run(scenario())
