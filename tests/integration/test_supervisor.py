"""Supervisors over real processes, real sockets and the real client."""

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from control_fixtures import (  # noqa: F401 - subreaper is a fixture
    DEADLINE_S,
    PROGRAM,
    is_alive,
    is_empty,
    launcher,
    number_in,
    on_both_loops,
    subreaper,
    until,
)

from ollama_fleet.bench.ports import free_port
from ollama_fleet.config import SupervisionConfig
from ollama_fleet.control.orphans import sweep
from ollama_fleet.control.supervisor import Supervisor, start_all
from ollama_fleet.control.supervisor.vram import commands_of
from ollama_fleet.errors import StartFailed
from ollama_fleet.ollama import Ollama, new_session
from ollama_fleet.placement import InstanceSpec, Placement
from ollama_fleet.state import Phase, ResidentModel, State

pytestmark = pytest.mark.usefixtures("subreaper")

QUICK = {"backoff_first_s": 0.02, "stop_timeout_s": 5, "probe_interval_s": 0.05}


class Box:
    """One instance under supervision."""

    def __init__(self, folder, start, session, *, settings=(), arguments=(), preload=()):
        port = free_port()
        spec = InstanceSpec(
            name="gpu0",
            group="g",
            host="127.0.0.1",
            port=port,
            slots=1,
            store="/store",
            environment={"OLLAMA_HOST": f"127.0.0.1:{port}"},
            preload=preload,
        )
        self.state = State(Placement((spec,)))
        (self.instance,) = self.state.instances.values()
        self.phases, self.causes = [], []
        self.state.on_change.append(self._note)
        self.runs = folder / "runs"
        self.supervisor = Supervisor(
            self.instance,
            state=self.state,
            launcher=start,
            argv=(*PROGRAM, *arguments),
            settings=SupervisionConfig(**(QUICK | dict(settings))),
            client=lambda instance: Ollama(session, instance.spec.base_url),
            runs=self.runs,
            clock=time.monotonic,
            rng=random.Random(1),
        )

    def _note(self):
        if self.phases[-1:] != [self.instance.phase]:
            self.phases.append(self.instance.phase)
            self.causes.append(self.instance.cause)

    @property
    def record(self):
        return self.runs / "gpu0.run.json"

    async def reaches(self, phase):
        await until(lambda: self.instance.phase is phase, phase)


@asynccontextmanager
async def box(folder, *arguments, preload=(), **settings):
    async with launcher(folder) as start, new_session() as session:
        made = Box(folder, start, session, settings=settings, arguments=arguments, preload=preload)
        made.supervisor.start()
        try:
            yield made
        finally:
            await made.supervisor.stop()
            assert made.instance.phase is Phase.STOPPED
            assert made.instance.pid == 0
            assert not list(made.runs.glob("*"))


@on_both_loops
def test_an_instance_is_ready_once_it_answers_and_gone_after_a_stop(run, tmp_path):
    async def scenario():
        async with box(tmp_path) as made:
            await made.reaches(Phase.READY)
            assert made.phases == [Phase.STARTING, Phase.READY]
            assert made.instance.version == "0.20.0"
            record = json.loads(made.record.read_text())
            assert record["pid"] == made.instance.pid
            pid = made.instance.pid
        assert made.phases[2:] == [Phase.DRAINING, Phase.STOPPING, Phase.STOPPED]
        assert is_empty(pid)

    run(scenario())


def test_models_are_loaded_before_ready_and_one_that_cannot_be_is_a_note(tmp_path):
    async def scenario():
        async with box(tmp_path, preload=("m", "embedder", "missing")) as made:
            await made.reaches(Phase.READY)
            assert "missing could not be loaded: model 'missing' not found" in made.instance.cause
            child_says = made.supervisor._means.launcher._logs
            await asyncio.wrap_future(child_says.flush("gpu0"))
            assert child_says.tail("gpu0")[1:] == (
                "loaded m /api/generate",
                "loaded embedder /api/embed",
            )

    asyncio.run(scenario())


def test_a_crash_leads_through_backoff_to_ready_and_takes_the_runners_along(tmp_path):
    async def scenario():
        file = tmp_path / "runner"
        async with box(tmp_path, "--runner", str(file)) as made:
            await made.reaches(Phase.READY)
            first, runner = made.instance.pid, await number_in(file)
            os.kill(first, signal.SIGKILL)
            await until(lambda: made.instance.pid not in (0, first), "another process")
            assert is_empty(first)
            assert not is_alive(runner)
            await made.reaches(Phase.READY)
            assert made.phases[2:] == [
                Phase.STOPPING,
                Phase.BACKOFF,
                Phase.STARTING,
                Phase.READY,
            ]
            assert made.instance.starts == 2

    asyncio.run(scenario())


def test_a_crash_loop_ends_in_failed_with_the_cause_and_the_last_words(tmp_path):
    async def scenario():
        async with box(tmp_path, "--say", "boom", "--exit", "3") as made:
            await made.reaches(Phase.FAILED)
            assert made.instance.starts == 5
            assert made.instance.cause == "exited with code 3: boom"
            assert made.instance.log_tail.count("boom") == 5
            assert not made.record.exists()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("program", "cause"),
    [
        ("/no/such/ollama", "was not found"),
        ("/etc/passwd", "cannot be executed: Permission denied"),
    ],
)
def test_a_program_that_will_never_start_fails_at_once(tmp_path, monkeypatch, program, cause):
    monkeypatch.setattr("test_supervisor.PROGRAM", (program,))

    async def scenario():
        async with box(tmp_path) as made:
            await made.reaches(Phase.FAILED)
            assert made.instance.starts == 1
            assert made.instance.cause == f"{program} {cause}"

    asyncio.run(scenario())


def test_a_taken_port_fails_at_once_and_names_the_holder(tmp_path):
    async def scenario():
        async with box(tmp_path) as made:
            await made.reaches(Phase.READY)
            port = made.instance.spec.port
            await made.supervisor.stop()
            with socket.create_server(("127.0.0.1", port)):
                again = box_on(made)
                running = asyncio.create_task(again.run())
                await made.reaches(Phase.FAILED)
                assert made.instance.starts == 1, "nothing was started"
                us = f"pid {os.getpid()} ({' '.join(psutil.Process().cmdline())})"
                assert made.instance.cause == f"port {port} is taken by {us}"
            await again.restart()
            assert made.instance.phase is Phase.READY, "a restart revives it"
            await again.stop()
            await running

    asyncio.run(scenario())


def box_on(made):
    """Another supervisor for the same instance."""
    means = made.supervisor._means
    return Supervisor(
        made.instance,
        state=means.state,
        launcher=means.launcher,
        argv=means.argv,
        settings=means.settings(),
        client=means.client,
        runs=means.runs,
        clock=means.clock,
        rng=random.Random(1),
    )


def test_a_port_that_is_taken_in_the_last_moment_fails_at_once_too(tmp_path):
    """Then only the program's own words tell: it exits as Ollama does."""
    words = "Error: listen tcp 127.0.0.1:1: bind: address already in use"

    async def scenario():
        async with box(tmp_path, "--say", words, "--exit", "1") as made:
            await made.reaches(Phase.FAILED)
            assert made.instance.starts == 1
            assert made.instance.cause.startswith(f"port {made.instance.spec.port} is taken by ")
            assert made.instance.log_tail[-1] == words

    asyncio.run(scenario())


def test_one_that_ignores_term_is_killed_when_its_time_is_over(tmp_path):
    async def scenario():
        async with box(tmp_path, "--ignore-term", stop_timeout_s=0.3) as made:
            await made.reaches(Phase.READY)
            pid = made.instance.pid
        assert is_empty(pid)

    asyncio.run(scenario())


def test_a_stop_waits_for_the_requests_in_flight(tmp_path):
    async def scenario():
        async with box(tmp_path) as made:
            await made.reaches(Phase.READY)
            with made.state.lease(made.instance, "m"):
                stopping = asyncio.create_task(made.supervisor.stop())
                await made.reaches(Phase.DRAINING)
                assert is_alive(made.instance.pid)
                assert not stopping.done()
            await stopping

    asyncio.run(scenario())


def test_a_restart_makes_a_new_process_and_returns_when_it_is_ready(tmp_path):
    async def scenario():
        async with box(tmp_path) as made:
            await made.reaches(Phase.READY)
            pid = made.instance.pid
            await made.supervisor.restart()
            assert made.instance.phase is Phase.READY
            assert made.instance.pid != pid
            assert is_empty(pid)

    asyncio.run(scenario())


def test_what_its_last_requests_have_loaded_is_loaded_again_after_a_restart(tmp_path):
    async def scenario():
        async with box(tmp_path) as made:
            await made.reaches(Phase.READY)
            with made.state.lease(made.instance, "m"):
                restarting = asyncio.create_task(made.supervisor.restart())
                await made.reaches(Phase.DRAINING)
                loaded = ResidentModel("m", "m", 1, 1, "", {})
                made.state.set_resident(made.instance, (loaded,))
            await restarting
            child_says = made.supervisor._means.launcher._logs
            await asyncio.wrap_future(child_says.flush("gpu0"))
            assert "loaded m /api/generate" in child_says.tail("gpu0")

    asyncio.run(scenario())


def test_one_whose_program_has_gone_is_not_stopped_for_a_restart(tmp_path):
    """It could not come back."""
    program = tmp_path / "ollama"
    program.symlink_to(PROGRAM[0])

    async def scenario():
        async with box(tmp_path) as made:
            await made.reaches(Phase.READY)
            pid = made.instance.pid
            means = made.supervisor._means
            made.supervisor._means = replace(means, argv=(str(program), *means.argv[1:]))
            program.unlink()
            with pytest.raises(StartFailed, match="missing or no program"):
                await made.supervisor.restart()
            assert (made.instance.phase, made.instance.pid) == (Phase.READY, pid)

    asyncio.run(scenario())


def test_a_group_is_told_by_the_command_lines_of_its_members(tmp_path):
    async def scenario():
        async with box(tmp_path) as made:
            await made.reaches(Phase.READY)
            pid = made.instance.pid
            assert PROGRAM[-1] in (await commands_of(pid))[pid]
        assert await commands_of(pid) == {pid: ""}, "who is gone has no command, and no members"

    asyncio.run(scenario())


def test_one_that_no_longer_answers_is_replaced(tmp_path):
    async def scenario():
        deaf = tmp_path / "deaf"
        settings = {"probe_timeout_s": 0.5, "probe_failures": 3}
        async with box(tmp_path, "--deaf-if", str(deaf), **settings) as made:
            await made.reaches(Phase.READY)
            pid = made.instance.pid
            deaf.touch()
            await until(lambda: made.instance.pid != pid, "the end of a deaf process")
            deaf.unlink()
            assert any("answered none of 3 probes" in cause for cause in made.causes)
            await made.reaches(Phase.READY)

    asyncio.run(scenario())


def test_a_supervisor_that_is_cancelled_leaves_nothing_behind(tmp_path):
    async def scenario():
        async with box(tmp_path) as made:
            await made.reaches(Phase.READY)
            pid = made.instance.pid
            made.supervisor._task.cancel()
            await made.reaches(Phase.STOPPED)
            assert is_empty(pid)

    asyncio.run(scenario())


def test_the_first_start_ever_is_alone(tmp_path):
    """Ollama writes its key at its first start, and two of them would both write it."""

    async def scenario():
        async with launcher(tmp_path) as start, new_session() as session:
            boxes = [Box(tmp_path / str(n), start, session) for n in range(3)]
            running = []
            for made in boxes:
                made.state.on_change.append(
                    lambda: running.append([b.instance.starts for b in boxes])
                )
            await start_all([made.supervisor for made in boxes], tmp_path / "no-key")
            for made in boxes:
                await made.reaches(Phase.READY)
            up = [b.instance.version for b in boxes]
            await asyncio.gather(*(made.supervisor.stop() for made in boxes))
            assert up == ["0.20.0"] * 3
            return running

    running = asyncio.run(scenario())
    assert [1, 0, 0] in running


_FLEET = """
import asyncio, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from test_supervisor import box
from ollama_fleet.control.launcher import become_subreaper
from ollama_fleet.state import Phase

async def main():
    folder = Path(sys.argv[2])
    async with box(folder, "--runner", str(folder / "runner")) as made:
        await made.reaches(Phase.READY)
        print(made.instance.pid, flush=True)
        await asyncio.Event().wait()

become_subreaper()
asyncio.run(main())
"""


def test_what_a_killed_fleet_leaves_behind_is_ended_by_the_next(tmp_path):
    """The child ends with the fleet, at once; its runner, which nobody told, with the sweep."""
    here = str(Path(__file__).parent)
    with subprocess.Popen(
        [sys.executable, "-c", _FLEET, here, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as fleet:
        pid = int(fleet.stdout.readline())
        fleet.kill()
    killed_at_s = time.monotonic()

    async def scenario():
        runner = await number_in(tmp_path / "runner")
        await until(lambda: not is_alive(pid), "the end of the child")
        assert time.monotonic() - killed_at_s < DEADLINE_S / 3
        assert is_alive(runner)
        lines = await sweep(tmp_path / "runs", grace_s=0.2)
        assert not is_alive(runner)
        assert lines == (f"gpu0: ended pid {runner}, left by a killed fleet",)
        assert await sweep(tmp_path / "runs", grace_s=0.2) == ()

    asyncio.run(scenario())


def test_five_starts_and_ends_leave_nothing_behind():
    """The short form of the soak: no process, descriptor, task or thread more than before."""
    ran = subprocess.run(
        [
            sys.executable,
            "-m",
            "ollama_fleet.bench.soak",
            "restarts",
            "--cycles",
            "5",
            "-o",
            "json",
        ],
        check=False,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    report = json.loads(ran.stdout)
    assert (report["cycles"], report["holds"]) == (5, True)
    assert not [name for name, value in report.items() if name.startswith("leaked") and value > 0]
