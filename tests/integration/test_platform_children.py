"""Children and the process table where the system has no pidfd, no waitid, no /proc and no prctl.

As on macOS before Python 3.13. The calls are taken away, the processes are real; nothing was run on
macOS.
"""

import asyncio
import os
import select
import signal

import psutil
import pytest
from control_fixtures import PROGRAM, is_alive, launcher, number_in, until

from ollama_fleet.control import orphans, processes
from ollama_fleet.control.processes import all_processes, environment_of, find_process, send

pytestmark = pytest.mark.platform


@pytest.fixture
def lacking(monkeypatch):
    """What macOS does not have is taken away; children that were orphaned go to init."""
    for module, name in ((os, "pidfd_open"), (os, "waitid"), (os, "pipe2")):
        monkeypatch.delattr(module, name)
    monkeypatch.delattr(select, "epoll")
    monkeypatch.delattr(signal, "pidfd_send_signal")


@pytest.fixture
def no_proc(lacking, monkeypatch):  # noqa: ARG001 - a fixture for its effect
    """Nor a /proc, for us; psutil has other ways there, here it reads that."""
    opened, scanned, exists = os.open, os.scandir, os.path.exists

    def is_proc(path):
        return str(path).startswith("/proc")

    def missing(path, *_):
        raise FileNotFoundError(2, "No such file or directory", str(path))

    monkeypatch.setattr(os, "open", lambda p, *a: (missing if is_proc(p) else opened)(p, *a))
    monkeypatch.setattr(os, "scandir", lambda p: (missing if is_proc(p) else scanned)(p))
    monkeypatch.setattr(os.path, "exists", lambda p: not is_proc(p) and exists(p))


@pytest.mark.usefixtures("lacking")
@pytest.mark.parametrize(("how", "code"), [(("--exit", "3"), 3), ((), -signal.SIGKILL)])
def test_how_a_child_ended_is_told_once_it_has(how, code, tmp_path):
    async def scenario():
        async with launcher(tmp_path) as start:
            child = start.start("i", (*PROGRAM, "--say", "here", *how), {})
            if not how:
                os.kill(child.pid, signal.SIGKILL)
            assert await asyncio.wait_for(child.wait(), 20) == code
            assert await child.stop(0) == ()

    asyncio.run(scenario())


@pytest.mark.usefixtures("lacking")
def test_what_a_child_has_started_does_not_outlive_it(tmp_path):
    """Its runner ignores TERM, and nobody stopped the child: it ended by itself."""

    async def scenario():
        async with launcher(tmp_path) as start:
            file = tmp_path / "runner"
            child = start.start("i", (*PROGRAM, "--runner", str(file), "--exit-after", "0.2"), {})
            runner = await number_in(file)
            assert await asyncio.wait_for(child.wait(), 20) == 3
            await until(lambda: not is_alive(runner), "the end of the runner")
            assert await child.stop(0) == ()

    asyncio.run(scenario())


@pytest.mark.usefixtures("lacking")
def test_a_child_that_is_stopped_may_end_by_itself_and_its_runner_is_killed(tmp_path):
    async def scenario():
        async with launcher(tmp_path) as start:
            file = tmp_path / "runner"
            argv = (*PROGRAM, "--obey-term", "--runner", str(file), "--say", "here")
            child = start.start("i", argv, {})
            runner = await number_in(file)
            assert await child.stop(20) == ()
            assert await child.wait() == 0
            await until(lambda: not is_alive(runner), "the end of the runner")
            assert "here" in await child.tail(5)

    asyncio.run(scenario())


@pytest.mark.usefixtures("no_proc")
def test_the_process_table_without_proc_is_that_of_psutil():
    process = find_process(os.getpid())
    assert process is not None
    assert process.alive
    assert (process.ppid, process.pgid, process.sid) == (
        os.getppid(),
        os.getpgid(0),
        os.getsid(0),
    )
    assert process.identity == find_process(os.getpid()).identity
    assert os.getpid() in {each.pid for each in all_processes()}
    assert environment_of(os.getpid()) >= {f"PATH={psutil.Process().environ()['PATH']}"}
    assert find_process(2**22 + 1) is None
    assert processes.living_members(os.getpgid(0))


@pytest.mark.usefixtures("no_proc")
def test_a_signal_reaches_no_process_that_only_has_the_number(tmp_path):
    async def scenario():
        async with launcher(tmp_path) as start:
            child = start.start("i", (*PROGRAM, "--say", "here"), {})
            process = find_process(child.pid)
            other = processes.Process(process.pid, "S", 0, 0, 0, process.started_ticks + 100)
            send(other, signal.SIGKILL)
            assert is_alive(child.pid)
            send(process, signal.SIGKILL)
            assert await asyncio.wait_for(child.wait(), 20) == -signal.SIGKILL
            await child.stop(0)

    asyncio.run(scenario())


@pytest.mark.usefixtures("no_proc")
def test_what_a_killed_fleet_has_left_is_found_and_ended_without_proc(tmp_path):
    """There is no signal at its parent's death there: the next start is what ends an instance."""

    async def scenario():
        async with launcher(tmp_path) as start:
            port, ready = 1, tmp_path / "runner"
            environment = {"OLLAMA_HOST": f"127.0.0.1:{port}"}
            argv = (*PROGRAM, "--runner", str(ready))
            child = start.start("i", argv, environment)
            runner = await number_in(ready)
            started_ticks = find_process(child.pid).started_ticks
            boot = processes.boot_id()
            record = orphans.RunRecord("i", child.pid, started_ticks, port, (), "", boot)
            orphans.write_record(tmp_path / "runs", record)
            (line,) = await orphans.sweep(tmp_path / "runs", grace_s=0.1)
            assert str(child.pid) in line
            assert str(runner) in line
            assert not is_alive(child.pid)
            assert not is_alive(runner)
            await child.stop(0)

    asyncio.run(scenario())
    assert not list((tmp_path / "runs").iterdir())
