"""The prober on virtual time; what instances answer is scripted."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from virtual_time import now, passes, run

from ollama_fleet.config import SupervisionConfig
from ollama_fleet.control.prober import Prober, Verdict
from ollama_fleet.control.weights import Weights
from ollama_fleet.errors import CallNotMade, ConnectFailed, ModelMissing, OllamaError, Overloaded
from ollama_fleet.gpu import GpuSample
from ollama_fleet.names import canonical
from ollama_fleet.placement import InstanceSpec, Placement
from ollama_fleet.state import (
    Health,
    Phase,
    Residency,
    ResidentModel,
    State,
    StoredModel,
    Want,
)

SETTINGS = SupervisionConfig()


class Script:
    """What one instance answers, and when it was asked."""

    def __init__(self):
        self.up = True
        self.callable = True  # by a prober that has sockets left
        self.version_s = self.tags_s = self.ps_s = 0.0
        self.models = ("m",)
        self.asked_at_s = {"version": [], "tags": [], "ps": []}
        self.show_s, self.shown, self.described = 0.0, [], {}

    async def version(self, *, timeout_s):
        self.asked_at_s["version"].append(now())
        if not self.callable:
            raise CallNotMade("it was not called: too many open files")
        await self._take(self.version_s, timeout_s)
        return "0.20.0"

    async def tags(self, *, timeout_s):
        self.asked_at_s["tags"].append(now())
        models = self.models
        await self._take(self.tags_s, timeout_s)
        return tuple(StoredModel(canonical(m), m, "d-" + m, 1, {"name": m}) for m in models)

    async def ps(self, *, timeout_s):
        self.asked_at_s["ps"].append(now())
        await self._take(self.ps_s, timeout_s)
        return tuple(ResidentModel(canonical(m), m, 1, 1, "", {}) for m in self.models)

    async def show(self, name, *, timeout_s):
        self.shown.append(name)
        await self._take(self.show_s, timeout_s)
        return {"modelfile": self.described.get(name, "")}

    async def _take(self, seconds, timeout_s):
        up = self.up
        await passes(min(seconds, timeout_s))
        if not up or seconds > timeout_s:
            raise OllamaError("no answer")


class Fleet:
    """Instances, their scripts and a prober that is to be entered."""

    def __init__(self, *names, external=(), store="/store"):
        specs = (
            InstanceSpec(n, "g", "127.0.0.1", 1, 1, store, external=n in external) for n in names
        )
        self.state = State(Placement(tuple(specs)))
        self.scripts = {name: Script() for name in names}
        self.samples, self.read = 0, []
        self.prober = Prober(
            self.state,
            lambda instance: self.scripts[instance.name],
            SETTINGS,
            clock=now,
            read_gpus=self._read_gpus,
            read_weights=self._read_weights,
        )
        for name in set(names) - set(external):
            self.ready(name)

    async def _read_weights(self, store, models):
        self.read.append((store, [model.name for model in models]))
        return {m.digest: Weights("sha256:of-" + m.name) for m in models}

    async def _read_gpus(self):
        self.samples += 1
        return GpuSample(error=str(self.samples))

    def ready(self, name):
        instance = self.state.instances[name]
        instance.starts += 1
        self.state.set_phase(instance, Phase.READY, 0.0)
        return instance

    def __getitem__(self, name):
        return self.state.instances[name], self.scripts[name]


@given(st.lists(st.booleans(), max_size=12))
def test_health_changes_only_after_two_in_a_row_save_for_the_first_answer(probes):
    verdict = Verdict()
    for n, answered in enumerate(probes):
        before, verdict = verdict, verdict.after(answered=answered)
        found = Health.HEALTHY if answered else Health.UNHEALTHY
        twice = n > 0 and probes[n - 1] is answered
        first = answered and before.health is Health.UNKNOWN
        assert verdict.health is (found if twice or first else before.health)


def test_an_instance_is_known_at_once_when_it_becomes_ready():
    async def scenario():
        fleet = Fleet("a")
        instance, script = fleet["a"]
        fleet.state.set_phase(instance, Phase.STARTING, 0.0)
        async with fleet.prober:
            await passes(9.1)
            assert script.asked_at_s["version"] == [], "before that the supervisor asks"
            fleet.ready("a")
            await passes(0.01)
            assert instance.health is Health.HEALTHY
            assert set(instance.stored) == set(instance.resident) == {canonical("m")}
            assert instance.version == "0.20.0"

    run(scenario())


def test_two_failures_make_unhealthy_and_two_answers_healthy_again():
    async def scenario():
        fleet = Fleet("a")
        instance, script = fleet["a"]
        async with fleet.prober:
            await passes(0.01)
            script.up = False
            down_at_s = now()
            while instance.health is Health.HEALTHY:
                await passes(0.01)
            assert now() - down_at_s <= SETTINGS.probe_interval_s + 0.5
            assert instance.cause == "no answer"
            assert not instance.healthy
            script.up = True
            while instance.health is not Health.HEALTHY:
                await passes(0.01)
            assert instance.cause == ""
            assert len(script.asked_at_s["version"]) >= 5
            assert instance.stored, "what was known of it stays known"

    run(scenario())


def test_an_instance_that_hangs_is_given_nothing_new_after_six_seconds():
    async def scenario():
        fleet = Fleet("a")
        instance, script = fleet["a"]
        async with fleet.prober:
            await passes(0.01)  # the worst moment: it has just answered
            script.version_s = 1000.0
            hung_at_s = now()
            while instance.healthy:
                await passes(0.01)
            assert now() - hung_at_s < 6.0
            script.version_s = 0.0
            back_at_s = now()
            while not instance.healthy:
                await passes(0.01)
            assert now() - back_at_s < 5.0

    run(scenario())


def test_a_note_of_the_supervisor_outlives_the_first_answer():
    async def scenario():
        fleet = Fleet("a")
        instance, _ = fleet["a"]
        fleet.state.set_phase(instance, Phase.READY, 0.0, "m could not be loaded")
        async with fleet.prober:
            await passes(5)
            assert instance.health is Health.HEALTHY
            assert instance.cause == "m could not be loaded"

    run(scenario())


def test_a_slow_list_is_no_failure_and_delays_neither_probe_nor_neighbour():
    async def scenario():
        fleet = Fleet("slow", "quick")
        slow, script = fleet["slow"]
        _, neighbour = fleet["quick"]
        script.ps_s = 1000.0
        neighbour.version_s = 0.0
        async with fleet.prober:
            await passes(60)
            assert slow.health is Health.HEALTHY
            assert slow.resident == {}
            for asked in (script.asked_at_s["version"], neighbour.asked_at_s["ps"]):
                assert len(asked) == pytest.approx(60 / SETTINGS.probe_interval_s, abs=2)

    run(scenario())


def test_a_hanging_instance_delays_no_other():
    async def scenario():
        fleet = Fleet("hung", "fine")
        hung, script = fleet["hung"]
        fine, neighbour = fleet["fine"]
        script.version_s = script.tags_s = script.ps_s = 1000.0
        async with fleet.prober:
            await passes(60)
            assert hung.health is Health.UNHEALTHY
            assert fine.health is Health.HEALTHY
            assert len(neighbour.asked_at_s["version"]) >= 28

    run(scenario())


def test_a_failed_request_calls_for_a_probe_at_once():
    """But what is the client's or the model's fault does not, and a flood counts as one call."""

    async def scenario():
        fleet = Fleet("a")
        instance, script = fleet["a"]
        asked = script.asked_at_s["version"]
        async with fleet.prober:
            await passes(1)
            with fleet.state.lease(instance, "m") as lease:
                for harmless in (ModelMissing(), Overloaded()):
                    fleet.state.outcome(lease, harmless)
                await passes(0.1)
                assert len(asked) == 1
                script.up = False
                for _ in range(200):
                    fleet.state.outcome(lease, ConnectFailed())
                await passes(0.01)
                assert len(asked) == 2
                await passes(0.3)
                assert instance.health is Health.UNHEALTHY
                assert len(asked) == 3

    run(scenario())


def test_an_answer_of_an_earlier_process_says_nothing_of_the_present_one():
    async def scenario():
        fleet = Fleet("a")
        instance, script = fleet["a"]
        script.version_s, script.ps_s = 1000.0, 5.0
        async with fleet.prober:
            await passes(3)
            fleet.state.set_phase(instance, Phase.BACKOFF, now(), "exited")
            await passes(5)
            assert instance.cause == "exited"
            assert instance.health is Health.UNKNOWN
            assert instance.resident == {}

    run(scenario())


def test_failures_that_go_on_do_not_become_a_flood_of_probes():
    async def scenario():
        fleet = Fleet("a")
        instance, script = fleet["a"]
        script.up = False
        async with fleet.prober:
            with fleet.state.lease(instance, "m") as lease:
                for _ in range(1000):
                    fleet.state.outcome(lease, ConnectFailed())
                    await passes(0.001)
            assert len(script.asked_at_s["version"]) == pytest.approx(1 / 0.05, abs=2)

    run(scenario())


def test_probes_come_as_often_as_was_said_last():
    async def scenario():
        fleet = Fleet("a")
        _, script = fleet["a"]
        async with fleet.prober:
            await passes(60)
            usual = len(script.asked_at_s["version"])
            fleet.prober.retune(SupervisionConfig(probe_interval_s=20))
            await passes(60)
            assert 2 <= len(script.asked_at_s["version"]) - usual <= 5 < usual

    run(scenario())


@pytest.mark.parametrize("external", [False, True])
def test_what_could_not_be_asked_for_want_of_a_socket_changes_nothing(external):
    """Neither for the better nor for the worse, however long it lasts."""

    async def scenario():
        fleet = Fleet("a", external={"a"} if external else ())
        instance, script = fleet["a"]
        async with fleet.prober:
            await passes(0.01)
            assert instance.healthy
            script.callable = False
            await passes(20 * SETTINGS.probe_interval_s)
            assert instance.healthy
            assert instance.version == "0.20.0"
            script.callable, script.up = True, False
            await passes(3 * SETTINGS.probe_interval_s)
            assert not instance.healthy

    run(scenario())


def test_a_new_process_is_not_blamed_for_the_silence_of_the_last():
    async def scenario():
        fleet = Fleet("a")
        instance, script = fleet["a"]
        script.up = False
        async with fleet.prober:
            await passes(1)
            assert instance.health is Health.UNHEALTHY
            fleet.state.set_phase(instance, Phase.BACKOFF, now(), "it hung")
            await passes(1)
            script.up = True
            fleet.ready("a")
            await passes(0.06)
            assert instance.health is Health.HEALTHY, "its first answer counts"

    run(scenario())


def test_an_external_instance_has_the_phase_that_its_answers_say():
    async def scenario():
        fleet = Fleet("attic", external=("attic",))
        instance, script = fleet["attic"]
        script.up = False
        async with fleet.prober:
            assert instance.phase is Phase.STARTING
            await passes(1)
            assert (instance.phase, instance.cause) == (Phase.BACKOFF, "no answer")
            since_s = instance.phase_since_s
            await passes(20)
            assert instance.phase_since_s == since_s, "it is one outage, however long"
            script.up = True
            await passes(SETTINGS.probe_interval_s + 1)
            assert instance.phase is Phase.READY
            assert instance.healthy
            assert instance.stored
            assert instance.cause == ""
            script.up = False
            await passes(SETTINGS.probe_interval_s + 1)
            assert instance.phase is Phase.BACKOFF

    run(scenario())


def test_an_answer_that_was_overtaken_is_dropped():
    """A list that was asked for before a pull ended must not take the new model away again."""

    async def scenario():
        fleet = Fleet("a")
        instance, script = fleet["a"]
        script.tags_s = 1.0
        async with fleet.prober:
            await passes(0.5)
            script.models, script.tags_s = ("m", "new"), 0.1
            await fleet.prober.refresh("/store")
            assert canonical("new") in instance.stored
            await passes(0.6)
            assert len(script.asked_at_s["tags"]) == 2, "the first answer has come meanwhile"
            assert canonical("new") in instance.stored

    run(scenario())


def test_a_refresh_asks_those_of_the_store_that_are_up():
    async def scenario():
        fleet = Fleet("a", "b")
        down, silent = fleet["b"]
        fleet.state.set_phase(down, Phase.FAILED, 0.0)
        _, script = fleet["a"]
        await fleet.prober.refresh("/store")
        await fleet.prober.refresh("/another")
        assert len(script.asked_at_s["tags"]) == 1
        assert silent.asked_at_s["tags"] == []

    run(scenario())


def test_gpus_are_read_every_two_seconds():
    async def scenario():
        fleet = Fleet("a")
        async with fleet.prober:
            await passes(9)
            assert fleet.samples == 5
            assert fleet.state.gpu_sample.error == "5"

    run(scenario())


def test_a_prober_leaves_no_task_and_no_callback_behind():
    async def scenario():
        fleet = Fleet("a", "b", external=("b",))
        async with fleet.prober:
            await passes(3)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        state = fleet.state
        for listeners in (state.on_change, state.on_phase, state.on_outcome, state.on_load):
            assert listeners == []


def test_the_weights_of_a_model_are_read_once_and_known_before_it_can_be_asked_for():
    async def scenario():
        fleet = Fleet("a", "b")
        a, script = fleet["a"]
        async with fleet.prober:
            await passes(0.01)
            assert a.stored[canonical("m")].weights == "sha256:of-m"
            await passes(9)
            script.models = ("m", "new")
            await passes(9)
            assert a.stored[canonical("new")].weights == "sha256:of-new"
        names = [name for _, names in fleet.read for name in names]
        assert names.count("new") == 1
        assert 1 <= names.count("m") <= 2, "two instances may have looked at the same time"

    run(scenario())


def test_a_name_that_is_there_for_the_time_of_a_pull_is_in_no_list():
    async def scenario():
        fleet = Fleet("a", external=("a",))
        instance, script = fleet["a"]
        script.models = ("m", f"10.0.0.1:4000/{'ab' * 32}/m:latest")
        async with fleet.prober:
            await passes(5)
            assert [model.name for model in instance.stored.values()] == ["m"]
            assert [model.name for model in instance.resident.values()] == ["m"]

    run(scenario())


def test_an_external_instance_is_asked_once_what_each_of_its_models_runs():
    """One after the other; if it does not answer, it is asked again later."""
    hexadecimal = "0" * 64

    async def scenario():
        fleet = Fleet("attic", external=("attic",))
        instance, script = fleet["attic"]
        script.models = ("m", "n", "odd")
        script.described = {
            "m": f"FROM /blobs/sha256-{hexadecimal}",
            "n": f"FROM /blobs/sha256-{hexadecimal}",
        }
        script.show_s = 1000.0
        async with fleet.prober:
            await passes(40)
            weights = {m.weights for m in instance.stored.values()}
            assert weights == {"d-m", "d-n", "d-odd"}, "until it is known"
            assert set(script.shown) == {"m"}, "no answer: no further question"
            script.show_s = 0.1
            await passes(20)
            script.shown.clear()
            await passes(20)
            assert script.shown == []
            m, n, odd = (instance.stored[canonical(name)].weights for name in script.models)
            assert m == n == f"sha256:{hexadecimal}"
            assert odd == "d-odd"

    run(scenario())


def test_a_list_asked_for_before_a_load_ended_does_not_take_the_model_away():
    async def scenario():
        fleet = Fleet("a")
        instance, script = fleet["a"]
        script.models = ()
        residency = Residency("w")
        want = Want(instance, residency, "m", "/api/generate", ())
        fleet.state.on_want.append(lambda _: None)
        async with fleet.prober:
            await passes(1)
            script.ps_s = 1.0
            fleet.prober.look_again(instance)
            await passes(0.5)
            fleet.state.want(want)
            fleet.state.loaded(want)
            asked = len(script.asked_at_s["ps"])
            await passes(0.6)
            assert instance.runners["w"].resident
            assert len(script.asked_at_s["ps"]) > asked, "it is asked again at once"
            await passes(1)
            assert not instance.runners, "and that answer counts"

    run(scenario())

    run(scenario())
