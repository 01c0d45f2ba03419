"""Loading and unloading by command, on virtual time with scripted instances."""

import asyncio
from contextlib import aclosing, asynccontextmanager

import pytest
from fleet_fixtures import asks, fleet, resident, stored
from virtual_time import now, passes, run

from ollama_fleet.control.loads import Loads, blamed
from ollama_fleet.control.preloads import GONE_S, Preloads, Step, Told
from ollama_fleet.errors import CallNotMade, FleetError, OllamaError, OutOfSockets
from ollama_fleet.names import canonical
from ollama_fleet.state import Health, Phase

M = canonical("m")
LOAD_S = 3.0


class Ollama:
    """One instance: loads in LOAD_S, unloads at once, or when its `busy_s` are over."""

    def __init__(self, state, instance):
        self.state, self.instance = state, instance
        self.asked, self.error, self.busy_s, self.in_memory = [], None, 0.0, []
        self.load_s = LOAD_S
        self.refused_paths = {"/api/generate", "/api/embed"}  # where the error is raised

    async def load_by(self, path, name, options, *, timeout_s):
        assert timeout_s >= LOAD_S
        self.asked.append((path, name, dict(options)))
        await passes(self.load_s)
        if self.error and path in self.refused_paths:
            raise self.error
        self.in_memory.append(name)

    async def unload(self, name, *, timeout_s):
        assert timeout_s > 0
        self.asked.append(("unload", name, {}))
        if self.error:
            raise self.error
        asyncio.get_running_loop().call_later(self.busy_s, self.in_memory.clear)

    def look(self):
        self.state.set_resident(self.instance, [resident(name) for name in self.in_memory])


class Fleet:
    def __init__(self, *names, **more):
        self.state = fleet(*names, **more)
        self.instances = self.state.instances
        self.ollama = {n: Ollama(self.state, i) for n, i in self.instances.items()}
        self.loads = Loads(self.state, self.client, answer_s=60.0)
        self.preloads = Preloads(
            self.state, self.loads, self.client, self, clock=now, read_cached=self.read_cached
        )
        self.looked_again, self.cached = [], {}

    def client(self, instance):
        return self.ollama[instance.name]

    async def read_cached(self, path):
        return self.cached.get(str(path))

    async def look(self, instance):
        self.ollama[instance.name].look()

    def look_again(self, instance):
        self.looked_again.append(instance.name)

    def put_in_memory(self, *names):
        for name in names:
            self.ollama[name].in_memory.append("m")
            self.ollama[name].look()


@asynccontextmanager
async def a_fleet(*names, **more):
    made = Fleet(*names, **more)
    async with made.loads:
        yield made


async def told(steps):
    """All that is told, as (instance, step)."""
    return [(each.instance, str(each.step)) async for each in steps]


def test_a_model_is_loaded_side_by_side_wherever_it_may_be_served():
    """It takes the time of one load, and each says how long it took."""

    async def scenario():
        async with a_fleet("a", "b") as it:
            steps = [each async for each in it.preloads.load("M:latest")]
            assert steps[:2] == [Told("a", Step.LOADING), Told("b", Step.LOADING)]
            assert steps[2:] == [Told(n, Step.LOADED, pytest.approx(LOAD_S)) for n in "ab"]
            assert it.ollama["a"].asked == [("/api/generate", "m", {})]
            assert await told(it.preloads.load("m", ["b"])) == [("b", "resident")]
            assert len(it.ollama["b"].asked) == 1

    run(scenario())


def test_a_load_says_how_much_of_it_need_not_be_read():
    """The share of the weights' blob that was in the page cache when the load began."""

    async def scenario():
        async with a_fleet("a") as it:
            it.state.set_stored(it.instances["a"], [stored("m", blob="sha256:" + "12ab" * 16)])
            it.cached["/store/blobs/sha256-" + "12ab" * 16] = 0.25
            *_, last = [each async for each in it.preloads.load("m")]
            assert (last.step, last.cached_ratio) == (Step.LOADED, 0.25)

    run(scenario())


def test_a_load_by_command_and_one_that_a_request_waits_for_are_one():
    async def scenario():
        async with a_fleet("a") as it:
            instance = it.instances["a"]
            asked = [asyncio.create_task(told(it.preloads.load("m"))) for _ in range(3)]
            await passes(1)
            assert instance.runners["d-m"].loading
            for each in await asyncio.gather(*asked):
                assert each[-1] == ("a", "loaded")
            assert len(it.ollama["a"].asked) == 1
            assert instance.has_free(instance.residency(asks().key))

    run(scenario())


def test_whoever_leaves_ends_no_load():
    async def scenario():
        async with a_fleet("a") as it:
            async with aclosing(it.preloads.load("m")) as steps:
                assert (await anext(steps)).step is Step.LOADING
                await passes(1)
            await passes(LOAD_S)
            assert it.instances["a"].runners["d-m"].resident

    run(scenario())


def test_who_is_not_up_is_not_waited_for_and_its_state_is_told():
    async def scenario():
        async with a_fleet("a", "b") as it:
            it.state.set_phase(it.instances["a"], Phase.STARTING, 0.0)
            it.state.set_health(it.instances["b"], Health.UNHEALTHY, "no answer in 2 s")
            steps = [each async for each in it.preloads.load("m", ["a", "b"])]
            assert {s.instance: s.error for s in steps} == {
                "a": "it is still starting",
                "b": "it is not answering: no answer in 2 s",
            }
            assert it.ollama["a"].asked == it.ollama["b"].asked == []

    run(scenario())


def test_each_that_cannot_load_is_named_with_its_reason_and_the_others_load():
    async def scenario():
        async with a_fleet("a", "b", "c", "d", routes={M: frozenset("abc")}) as it:
            it.state.set_stored(it.instances["b"], [])
            it.state.set_phase(it.instances["c"], Phase.BACKOFF, 0.0, "it crashed")
            it.ollama["a"].error = OllamaError("out of memory", 500)
            steps = [each async for each in it.preloads.load("m", ["g"])]
            assert {s.instance: s.error for s in steps if s.step is Step.FAILED} == {
                "a": "a could not load the model: out of memory",
                "b": "it does not have the model",
                "c": "it is down, and will be started again: it crashed",
                "d": "fleet.yaml does not let it serve the model",
            }

    run(scenario())


def test_what_a_request_would_be_told_is_told():
    """An instance that refuses the load has its own words for it."""

    async def scenario():
        async with a_fleet("a") as it:
            it.ollama["a"].error = OllamaError("remote host not allowed", 400)
            *_, last = [each async for each in it.preloads.load("m")]
            assert (last.step, last.error) == (Step.FAILED, "remote host not allowed")
            assert len(it.ollama["a"].asked) == 1

    run(scenario())


def test_a_load_that_could_not_be_asked_for_is_nobodys_failure():
    """This machine has no socket left: who waits is told so, and no instance is left out for it."""
    told = blamed(CallNotMade("it was not called: too many open files"), "a")
    assert isinstance(told, OutOfSockets)
    assert "too many open files" in str(told)


def test_what_only_embeds_is_loaded_by_its_own_route():
    async def scenario():
        async with a_fleet("a") as it:
            model = stored("m")
            model.row["capabilities"] = ["embedding"]
            it.state.set_stored(it.instances["a"], [model])
            assert (await told(it.preloads.load("m")))[-1] == ("a", "loaded")
            assert it.ollama["a"].asked[0][0] == "/api/embed"

    run(scenario())


def test_what_turns_out_to_embed_only_is_asked_for_again_by_its_own_route():
    """Versions whose lists do not say what a model can do refuse the first load of it."""

    async def scenario():
        async with a_fleet("a") as it:
            ollama = it.ollama["a"]
            ollama.error = OllamaError('"m" does not support generate', 400)
            ollama.refused_paths = {"/api/generate"}
            assert (await told(it.preloads.load("m")))[-1] == ("a", "loaded")
            assert [path for path, *_ in ollama.asked] == ["/api/generate", "/api/embed"]

    run(scenario())


def test_an_unload_is_over_when_the_model_is_gone():
    async def scenario():
        async with a_fleet("a", "b") as it:
            it.put_in_memory("a")
            it.ollama["a"].busy_s = 5.0
            steps = [each async for each in it.preloads.unload("m")]
            assert [s for s in steps if s.instance == "b"] == [Told("b", Step.ABSENT)]
            assert steps[-1].step is Step.UNLOADED
            assert steps[-1].seconds == pytest.approx(5.0, abs=0.2)
            assert not it.instances["a"].resident
            assert it.ollama["b"].asked == []

    run(scenario())


def test_what_is_in_use_for_long_leaves_later_and_has_failed_for_now():
    async def scenario():
        async with a_fleet("a") as it:
            it.put_in_memory("a")
            it.ollama["a"].busy_s = 10 * GONE_S
            *_, last = [each async for each in it.preloads.unload("m")]
            assert last.step is Step.FAILED
            assert "requests still use it" in last.error

    run(scenario())


def test_what_is_being_loaded_is_unloaded_when_it_is_there():
    """Asked before, an instance would have nothing to unload, and keep what comes."""

    async def scenario():
        async with a_fleet("a") as it:
            loading = asyncio.create_task(told(it.preloads.load("m")))
            await passes(1)
            *_, last = [each async for each in it.preloads.unload("m")]
            assert last.step is Step.UNLOADED
            assert last.seconds == pytest.approx(LOAD_S - 1, abs=0.2)
            assert (await loading)[-1] == ("a", "loaded")
            assert [what for what, *_ in it.ollama["a"].asked] == ["/api/generate", "unload"]

    run(scenario())


def test_a_load_without_end_is_not_waited_for_without_end():
    async def scenario():
        async with a_fleet("a") as it:
            it.ollama["a"].load_s = 10 * GONE_S
            it.loads._answer_s = 100 * GONE_S
            loading = asyncio.create_task(told(it.preloads.load("m")))
            await passes(1)
            *_, last = [each async for each in it.preloads.unload("m")]
            assert (last.step, last.error) == (Step.FAILED, "it is still being loaded")
            await loading

    run(scenario())


def test_an_unload_that_is_refused_says_why():
    async def scenario():
        async with a_fleet("a") as it:
            it.put_in_memory("a")
            it.ollama["a"].error = OllamaError("not now", 500)
            *_, last = [each async for each in it.preloads.unload("m")]
            assert (last.step, last.error) == (Step.FAILED, "not now")

    run(scenario())


def test_an_unload_by_another_name_of_the_weights_unloads_them():
    """But whoever removes that other name takes nothing from those who use the first."""

    async def scenario():
        async with a_fleet("a") as it:
            names = [stored(name, blob="weights") for name in ("m", "n")]
            it.state.set_stored(it.instances["a"], names)
            it.put_in_memory("a")
            assert it.preloads.users(canonical("n")) == ()
            assert it.preloads.users(M) == (it.instances["a"],)
            assert (await told(it.preloads.unload("n")))[-1] == ("a", "unloaded")

    run(scenario())


def test_what_is_being_loaded_is_in_use():
    async def scenario():
        async with a_fleet("a", "b") as it, aclosing(it.preloads.load("m", ["b"])) as steps:
            await anext(steps)
            assert it.preloads.users(M) == (it.instances["b"],)

    run(scenario())


def test_a_release_asks_all_who_have_the_model_and_are_up():
    """Those whose lists are old, too: nobody waits for it, and it does no harm."""

    async def scenario():
        async with a_fleet("a", "b", "c") as it:
            it.state.set_phase(it.instances["b"], Phase.STOPPED, 0.0)
            it.ollama["a"].error = OllamaError("no")
            await it.preloads.release(M, "m")
            assert [n for n, o in it.ollama.items() if o.asked] == ["a", "c"]
            assert it.looked_again == ["a", "c"]

    run(scenario())


@pytest.mark.parametrize("command", ["load", "unload"])
def test_what_is_not_there_is_refused_before_anything_is_done(command):
    async def scenario():
        async with a_fleet("a") as it:
            for words in (("mm",), ("m", ["nix"])):
                with pytest.raises(FleetError):
                    await told(getattr(it.preloads, command)(*words))
            assert it.ollama["a"].asked == []

    run(scenario())
