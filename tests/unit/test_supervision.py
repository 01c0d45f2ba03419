"""The life of an instance on virtual time; its processes are played, nothing else is."""

import asyncio
import math
import random
import sys

import pytest
from fleet_fixtures import stored
from hypothesis import given
from hypothesis import strategies as st
from virtual_time import now, passes, run

from ollama_fleet.config import SupervisionConfig
from ollama_fleet.control.supervisor import Supervisor, life, start_all
from ollama_fleet.control.supervisor.endings import explain
from ollama_fleet.control.supervisor.restarts import Starts, backoff
from ollama_fleet.errors import CallNotMade, OllamaError, StartFailed
from ollama_fleet.gpu import Gpu, GpuReading, GpuSample, Vendor
from ollama_fleet.names import canonical
from ollama_fleet.placement import InstanceSpec, Placement
from ollama_fleet.state import Kind, Phase, ResidentModel, State

SETTINGS = SupervisionConfig()


def in_memory(name, expires_s):
    return ResidentModel(canonical(name), name, 1, 1, "", {"name": name}, expires_s=expires_s)


RESIDENT = ResidentModel("m", "m", 1, 1, "", {})


class Child:
    """A played process: it lives until told otherwise."""

    def __init__(self, pid, script):
        self.pid, self.started_ticks = pid, 1
        self.exit = asyncio.get_running_loop().create_future()
        self.graces_s = []
        if script.lives_s < math.inf:
            asyncio.get_running_loop().call_later(script.lives_s, self.end, 1)
        self._script = script

    def end(self, code):
        if not self.exit.done():
            self.exit.set_result(code)

    async def wait(self):
        return await asyncio.shield(self.exit)

    async def stop(self, grace_s):
        self.graces_s.append(grace_s)
        self.end(-15)
        await passes(self._script.dies_in_s)
        return self._script.undead

    async def tail(self, lines):
        return self._script.tail[-lines:]


class Script:
    """What the played processes of one instance do, and what was asked of them."""

    def __init__(self):
        self.lives_s = math.inf
        self.answers_after_s = self.dies_in_s = 0.0
        self.deaf = self.uncalled = False
        self.tail = ("[fleet] start: ollama serve", "boom")
        self.undead = ()
        self.children, self.started_at_s, self.loaded, self.options = [], [], [], []
        self.refuses = set()
        self.freed_after_s = 0.0
        self.works = None

    def start(self, _name, _argv, _environment, **_bound):
        self.started_at_s.append(now())
        self.children.append(Child(100 + len(self.children), self))
        return self.children[-1]

    async def read_gpus(self):
        held = now() < self.freed_after_s
        return GpuSample((GpuReading("GPU-1", pids=(100,) if held else ()),))

    async def work(self, _now_s):
        return self.works

    async def commands(self, leader):
        return {leader: f"ollama serve {leader}"}

    async def version(self, *, timeout_s):
        if self.uncalled:
            raise CallNotMade("it was not called: too many open files")
        if self.deaf or now() < self.started_at_s[-1] + self.answers_after_s:
            await passes(min(timeout_s, 0.1))
            raise OllamaError("no answer")
        return "0.20.0"

    async def load(self, name, options, *, timeout_s):
        await passes(min(timeout_s, 30))
        if name in self.refuses:
            raise OllamaError(f"model '{name}' not found", 404)
        self.loaded.append(name)
        self.options.append(options)


@pytest.fixture(autouse=True)
def _no_sockets(monkeypatch):
    monkeypatch.setattr(life, "is_free", lambda _host, _port: True)


@pytest.fixture
def make(tmp_path):
    """Make a supervisor with its script and its state."""

    def made(name="gpu0", preload=(), gpus=(), argv=(sys.executable, "serve"), **settings):
        spec = InstanceSpec(name, "g", "127.0.0.1", 1, 1, "/store", gpus=gpus, preload=preload)
        script, state = Script(), State(Placement((spec,)))
        supervisor = Supervisor(
            state.instances[name],
            state=state,
            launcher=script,
            argv=argv,
            settings=SupervisionConfig(**settings),
            client=lambda _: script,
            runs=tmp_path,
            clock=now,
            rng=random.Random(7),
            read_gpus=script.read_gpus,
            work=lambda _: script.work,
            commands=script.commands,
        )
        script.state, script.instance = state, state.instances[name]
        return supervisor, script

    return made


async def until(script, phase):
    """Return when the instance reaches a phase; virtual time knows no impatience."""
    reached = asyncio.Event()

    def look():
        if script.instance.phase is phase:
            reached.set()

    script.state.on_change.append(look)
    look()
    await reached.wait()
    script.state.on_change.remove(look)


@given(st.integers(1, 5000), st.integers(0, 2**32))
def test_a_pause_is_drawn_from_all_below_a_bound_that_doubles_up_to_the_longest(failures, seed):
    pause_s = backoff(failures, SETTINGS, random.Random(seed))
    bound_s = min(SETTINGS.backoff_max_s, SETTINGS.backoff_first_s * 2 ** min(failures - 1, 99))
    assert 0 <= pause_s <= bound_s
    assert pause_s == random.Random(seed).uniform(0, bound_s)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=30))
def test_starts_are_exhausted_exactly_when_a_window_holds_the_limit(gaps_s):
    starts, at_s, now_s = Starts(), [], 0.0
    for gap_s in gaps_s:
        now_s += gap_s
        at_s.append(now_s)
        starts = starts.started(now_s, SETTINGS).failed(0.0, SETTINGS)
        recent = [t for t in at_s if now_s - t < SETTINGS.start_window_s]
        assert starts.exhausted(now_s, SETTINGS) == (len(recent) >= SETTINGS.start_limit)
        assert starts.failures == len(at_s)


@given(st.integers(0, 100), st.floats(-1e9, 1e9))
def test_only_a_long_healthy_life_makes_earlier_failures_forgotten(failures, ready_s):
    before = Starts((1.0,), failures)
    after = before.failed(ready_s, SETTINGS)
    healthy = ready_s >= SETTINGS.healthy_after_s
    assert after == (Starts((), 1) if healthy else Starts((1.0,), failures + 1))


def test_a_crash_loop_makes_as_many_starts_as_allowed_and_then_waits_for_an_operator(make):
    async def scenario():
        supervisor, script = make()
        script.lives_s = 0.01
        supervisor.start()
        await until(script, Phase.FAILED)
        assert script.instance.starts == SETTINGS.start_limit
        assert script.instance.cause == "exited with code 1: boom"
        assert script.instance.log_tail == script.tail
        gaps_s = [b - a for a, b in zip(script.started_at_s, script.started_at_s[1:], strict=False)]
        for n, gap_s in enumerate(gaps_s):
            assert gap_s <= 0.02 + SETTINGS.backoff_first_s * 2**n
        await passes(10_000)
        assert script.instance.starts == SETTINGS.start_limit
        script.lives_s = math.inf
        await supervisor.restart()
        assert script.instance.phase is Phase.READY
        await supervisor.stop()

    run(scenario())


def test_crashes_that_are_far_apart_never_lead_to_failed(make):
    async def scenario():
        supervisor, script = make(probe_interval_s=900)
        script.lives_s = 3600
        supervisor.start()
        await passes(3600 * 50)
        assert script.instance.starts > 45
        gaps_s = [b - a for a, b in zip(script.started_at_s, script.started_at_s[1:], strict=False)]
        assert max(gaps_s) <= 3600 + 0.1 + SETTINGS.backoff_first_s, "the pause does not grow"
        await supervisor.stop()

    run(scenario())


def test_a_stop_drains_before_it_ends_the_process(make):
    """In flight requests hold it up, but not for longer than drain_timeout."""

    async def scenario():
        supervisor, script = make(drain_timeout_s=30)
        supervisor.start()
        await until(script, Phase.READY)
        lease = script.state.lease(script.instance, "m")
        asyncio.get_running_loop().call_later(7, lease.release)
        began_s = now()
        await supervisor.stop()
        assert now() - began_s == pytest.approx(7)
        assert script.instance.phase is Phase.STOPPED

        supervisor, script = make(drain_timeout_s=30)
        supervisor.start()
        await until(script, Phase.READY)
        with script.state.lease(script.instance, "m"):
            began_s = now()
            await supervisor.stop()
            assert now() - began_s == pytest.approx(30)

    run(scenario())


def test_an_operator_without_patience_cuts_drain_and_grace_short(make):
    async def scenario():
        supervisor, script = make()
        supervisor.start()
        await until(script, Phase.READY)
        impatient = asyncio.Event()
        asyncio.get_running_loop().call_later(2, impatient.set)
        with script.state.lease(script.instance, "m"):
            began_s = now()
            await supervisor.stop(now=impatient)
            assert now() - began_s == pytest.approx(2)

    run(scenario())


def test_impatience_reaches_a_process_that_is_being_ended(make):
    async def scenario():
        supervisor, script = make(stop_timeout_s=50)
        script.dies_in_s = 50.0
        supervisor.start()
        await until(script, Phase.READY)
        impatient = asyncio.Event()
        asyncio.get_running_loop().call_later(2, impatient.set)
        await supervisor.stop(now=impatient)
        assert script.children[0].graces_s == [50, 1]

    run(scenario())


def test_a_stop_is_not_taken_back_by_a_restart(make):
    async def scenario():
        supervisor, script = make()
        supervisor.start()
        await until(script, Phase.READY)
        lease = script.state.lease(script.instance, "m")
        supervisor.request_stop()
        await until(script, Phase.DRAINING)
        restart = asyncio.create_task(supervisor.restart())
        await passes(1)
        lease.release()
        await restart
        assert script.instance.phase is Phase.STOPPED
        assert script.instance.starts == 1

    run(scenario())


def test_nobody_listens_to_the_state_any_more_after_a_stop(make):
    async def scenario():
        supervisor, script = make()
        supervisor.start()
        await until(script, Phase.READY)
        await supervisor.restart()
        await supervisor.stop()
        assert script.state.on_change == []
        await asyncio.sleep(0)
        assert asyncio.all_tasks() <= {asyncio.current_task(), supervisor._task}

    run(scenario())


def test_a_stop_is_obeyed_in_every_phase_and_is_for_good(make):
    async def scenario():
        for phase in (Phase.STARTING, Phase.READY, Phase.BACKOFF, Phase.FAILED):
            supervisor, script = make(backoff_first_s=50)
            script.answers_after_s = 5.0 if phase is Phase.STARTING else 0.0
            script.lives_s = 0.01 if phase in (Phase.BACKOFF, Phase.FAILED) else math.inf
            supervisor.start()
            await until(script, phase)
            began_s = now()
            await supervisor.stop()
            assert now() - began_s < 0.2
            assert script.instance.phase is Phase.STOPPED
            with pytest.raises(StartFailed):
                await supervisor.restart()

    run(scenario())


def test_a_stop_before_the_start_prevents_it(make):
    async def scenario():
        supervisor, script = make()
        supervisor.start()
        supervisor.request_stop()
        await supervisor.stop()
        await until(script, Phase.STOPPED)
        await passes(100)
        assert script.instance.starts == 0

    run(scenario())


def test_a_restart_returns_when_the_new_process_is_ready(make):
    async def scenario():
        supervisor, script = make(preload=("m",))
        supervisor.start()
        await until(script, Phase.READY)
        began_s = now()
        await supervisor.restart()
        assert now() - began_s >= 30, "its model was loaded again"
        assert script.instance.phase is Phase.READY
        assert script.instance.starts == 2
        assert len(script.children[0].graces_s) == 1
        await supervisor.stop()

    run(scenario())


def test_a_restart_loads_what_was_in_memory_before_the_instance_is_ready(make):
    async def scenario():
        supervisor, script = make(preload=("pinned", "hot"))
        supervisor.start()
        await until(script, Phase.READY)
        rows = [in_memory("old", 10.0), in_memory("hot", 99.0), in_memory("warm", 20.0)]
        script.state.set_stored(script.instance, [stored(row.name) for row in rows])
        script.state.set_resident(script.instance, rows)
        weights = script.instance.stored[canonical("warm")].weights
        script.instance.runners[weights].profile = (("num_ctx", 77), ("seed", 1))
        script.loaded.clear()
        script.options.clear()
        script.refuses = {"old"}
        await supervisor.restart()
        assert script.loaded == ["pinned", "hot", "warm"]
        assert script.options[2] == {"num_ctx": 77}, "as its runner had it, and no more"
        assert script.instance.phase is Phase.READY
        assert script.instance.cause == "old could not be loaded: model 'old' not found"
        await supervisor.stop()

    run(scenario())


def test_what_was_in_memory_before_a_crash_is_not_loaded_again(make):
    async def scenario():
        supervisor, script = make()
        supervisor.start()
        await until(script, Phase.READY)
        script.state.set_resident(script.instance, [in_memory("m", 10.0)])
        script.children[0].end(1)
        await until(script, Phase.BACKOFF)
        await until(script, Phase.READY)
        assert script.loaded == []
        await supervisor.stop()

    run(scenario())


def test_a_program_that_was_replaced_is_told_of_until_it_runs(make, tmp_path):
    async def scenario():
        program = tmp_path / "ollama"
        program.write_text("one")
        program.chmod(0o700)
        supervisor, script = make(argv=(str(program), "serve"))
        told = []
        script.state.on_notice.append(told.append)
        supervisor.start()
        await until(script, Phase.READY)
        await passes(10)
        assert not script.instance.outdated
        program.unlink()
        await passes(10)
        assert not script.instance.outdated, "there is none to be taken"
        program.write_text("the next one")
        program.chmod(0o700)
        await passes(10)
        assert script.instance.outdated
        await supervisor.restart()
        assert not script.instance.outdated
        assert [notice.kind for notice in told] == [Kind.INSTANCE_OUTDATED]
        await supervisor.stop()

    run(scenario())


def test_a_restart_during_a_crash_does_not_return_with_the_crash(make):
    async def scenario():
        supervisor, script = make()
        script.dies_in_s = 3.0
        supervisor.start()
        await until(script, Phase.READY)
        script.children[0].end(1)
        await until(script, Phase.STOPPING)
        await supervisor.restart()
        assert script.instance.phase is Phase.READY
        await supervisor.stop()

    run(scenario())


def test_what_the_operator_restarts_does_not_count_as_a_failure(make):
    async def scenario():
        supervisor, script = make()
        supervisor.start()
        await until(script, Phase.READY)
        for _ in range(2 * SETTINGS.start_limit):
            await supervisor.restart()
        script.children[-1].end(1)
        await until(script, Phase.BACKOFF)
        await until(script, Phase.READY)
        await supervisor.stop()

    run(scenario())


def test_a_process_that_does_not_answer_in_time_is_tried_again(make):
    async def scenario():
        supervisor, script = make(start_timeout_s=20)
        script.deaf = True
        supervisor.start()
        await until(script, Phase.BACKOFF)
        assert now() == pytest.approx(20, abs=0.5)
        assert script.instance.cause == "did not answer within 20s"
        script.deaf = False
        await until(script, Phase.READY)
        await supervisor.stop()

    run(scenario())


def test_other_timings_hold_for_the_life_that_is_lived_and_the_next(make):
    """What is being waited for has the time that it had."""

    async def scenario():
        supervisor, script = make(start_timeout_s=20, backoff_first_s=0.1, probe_failures=100)
        script.deaf = True
        supervisor.start()
        await passes(1)
        shorter = {"start_timeout_s": 5, "backoff_first_s": 0.1, "probe_failures": 2}
        supervisor.retune(SupervisionConfig(**shorter))
        await until(script, Phase.BACKOFF)
        assert now() == pytest.approx(20, abs=0.5)
        await until(script, Phase.STARTING)
        await until(script, Phase.BACKOFF)
        assert script.instance.cause == "did not answer within 5s"
        script.deaf = False
        await until(script, Phase.READY)
        supervisor.retune(SupervisionConfig(**shorter, probe_interval_s=1))
        script.deaf, deaf_at_s = True, now()
        await until(script, Phase.BACKOFF)
        assert now() - deaf_at_s < 10
        await supervisor.stop()

    run(scenario())


def test_a_process_is_not_ended_for_probes_that_could_not_be_sent(make):
    """This machine has no socket left: that of the fleet's own, which all instances share."""

    async def scenario():
        supervisor, script = make()
        supervisor.start()
        await until(script, Phase.READY)
        script.uncalled = True
        await passes(600)
        assert script.instance.phase is Phase.READY
        assert len(script.started_at_s) == 1
        script.uncalled = False
        await supervisor.stop()

    run(scenario())


@pytest.mark.parametrize("sign", ["none", "loading", "tokens"])
def test_silence_ends_a_process_unless_there_is_another_sign_of_life(make, sign):
    async def scenario():
        supervisor, script = make()
        supervisor.start()
        await until(script, Phase.READY)
        script.deaf = True
        if sign == "loading":
            script.state.lease(script.instance, "a model that is not resident")
        if sign == "none":
            script.state.set_resident(script.instance, [RESIDENT])
            script.state.lease(script.instance, RESIDENT.key)
        deaf_at_s = now()
        for _ in range(100):
            script.instance.counted += sign == "tokens"
            await passes(0.5)
            if script.instance.phase is not Phase.READY:
                break
        replaced = script.instance.phase is not Phase.READY
        assert replaced == (sign == "none")
        if replaced:
            assert now() - deaf_at_s < 3 * (2 + 2) + 1
        script.deaf = False
        await supervisor.stop()

    run(scenario())


def test_a_model_that_cannot_be_loaded_is_a_note_and_no_failure(make):
    async def scenario():
        supervisor, script = make(preload=("lost", "m"))
        script.refuses = {"lost"}
        supervisor.start()
        await until(script, Phase.READY)
        assert script.loaded == ["m"]
        assert script.instance.cause == "lost could not be loaded: model 'lost' not found"
        await supervisor.stop()

    run(scenario())


def test_a_process_that_cannot_be_killed_is_not_replaced(make):
    """Its memory on the GPU is not free, and a second one would come on top of it."""

    async def scenario():
        supervisor, script = make()
        script.undead = (100,)
        script.lives_s = 1
        supervisor.start()
        await until(script, Phase.FAILED)
        assert script.instance.starts == 1
        assert script.instance.cause.startswith("pid 100 cannot be killed")
        await supervisor.stop()

    run(scenario())


def test_the_next_process_starts_only_when_the_memory_of_the_last_is_free(make):
    async def check():
        gpu = Gpu("GPU-1", 0, "card", Vendor.NVIDIA, 2**34)
        supervisor, script = make(gpus=(gpu,))
        supervisor.start()
        await until(script, Phase.READY)
        script.freed_after_s = now() + 4
        await supervisor.restart()
        assert script.started_at_s[1] >= script.freed_after_s
        await supervisor.stop()

    run(check())


def test_memory_that_is_not_given_back_is_told_of_with_its_holder_and_holds_nobody_up(make):
    async def check():
        gpu = Gpu("GPU-1", 0, "card", Vendor.NVIDIA, 2**34)
        supervisor, script = make(gpus=(gpu,))
        told = []
        script.state.on_notice.append(told.append)
        supervisor.start()
        await until(script, Phase.READY)
        script.freed_after_s = math.inf
        await supervisor.restart()
        (notice,) = told
        assert notice.kind == "vram_held"
        assert notice.figures == {"pids": "100"}
        assert "by pid 100 (ollama serve 100)" in notice.text
        assert script.instance.phase is Phase.READY
        await supervisor.stop()

    run(check())


def test_without_ollamas_key_one_starts_alone_until_it_answers(make, tmp_path):
    """Not until its models are loaded: by then it has long written the key."""

    async def scenario(key_file):
        pairs = [make(f"gpu{n}", preload=("m",)) for n in range(3)]
        for _, script in pairs:
            script.answers_after_s = 5.0
        began_s = now()
        await start_all([supervisor for supervisor, _ in pairs], key_file)
        for _, script in pairs:
            await until(script, Phase.READY)
        for supervisor, _ in pairs:
            await supervisor.stop()
        return [round(script.started_at_s[0] - began_s) for _, script in pairs]

    key_file = tmp_path / "id_ed25519"
    assert run(scenario(key_file)) == [0, 5, 5]
    key_file.touch()
    assert run(scenario(key_file)) == [0, 0, 0]


START = "[fleet] start: ollama serve"
TAKEN = "Error: listen tcp 127.0.0.1:1: bind: address already in use"


@pytest.mark.parametrize(
    ("code", "lines", "was_up", "cause", "hopeless"),
    [
        (127, [START, "[fleet] cannot execute x: gone"], False, "ollama was not found", True),
        (
            126,
            [START, "x: Permission denied"],
            False,
            "cannot be executed: Permission denied",
            True,
        ),
        (127, [START], True, "exited with code 127", False),
        (1, [START, TAKEN], False, "its port is taken", True),
        (1, [START, TAKEN], True, f"exited with code 1: {TAKEN}", False),
        (1, [START, TAKEN, START, "no memory"], False, "exited with code 1: no memory", False),
        (2, [START, "last", " "], False, "exited with code 2: last", False),
        (-9, [START, "fine"], True, "was killed by SIGKILL (out of memory?)", False),
        (-11, [], True, "was killed by SIGSEGV", False),
        (-99, [], True, "was killed by signal 99", False),
        (0, [START], True, "exited with code 0", False),
    ],
)
def test_an_exit_is_explained_by_its_code_and_by_what_this_process_said(
    code, lines, was_up, cause, hopeless
):
    end = explain(code, lines, program="ollama", was_up=was_up)
    assert end.cause.endswith(cause)
    assert end.hopeless is hopeless
    assert end.log_tail == tuple(lines)
