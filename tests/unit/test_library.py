"""Pulls in virtual time: a scripted instance says its records when a test lets it."""

import asyncio
import gc

import pytest
from fleet_fixtures import fleet

from ollama_fleet.control import library as pulls
from ollama_fleet.control.mutations import Mutations
from ollama_fleet.control.stores import Disk
from ollama_fleet.errors import OllamaError
from ollama_fleet.state import Phase

LAYER = {"status": "pulling abc", "digest": "sha256:abc", "total": 10}


class Registry:
    """Stands where an instance's API would: each pull takes its records from a queue."""

    def __init__(self):
        self.pulls = []
        self.stopped = 0
        self.records = asyncio.Queue()

    def client(self, instance):
        registry = self

        class Client:
            async def pull(self, name, *, insecure=False):
                registry.pulls.append((instance.name, name, insecure))
                try:
                    while True:
                        item = await registry.records.get()
                        if isinstance(item, OllamaError):
                            raise item
                        yield item
                        if item["status"] == "success":
                            return
                finally:
                    registry.stopped += 1

        return Client()

    def say(self, *records):
        for record in records:
            self.records.put_nowait(record)


def no_offer(*_):
    raise AssertionError("there is nobody elsewhere")


GIB = 2**30


async def plenty(_store):
    """There is always room."""
    return Disk(1, 1000 * GIB)


async def nothing_left(_job, _store):
    """No pull was ever broken off."""
    return False


async def not_there(_store, _key):
    """Nobody has had the model."""


def library(state, registry):
    refreshed = []

    async def refresh(store):
        refreshed.append(store)

    mutations = Mutations(state, refresh)
    return pulls.Library(
        state,
        registry.client,
        mutations,
        offer=no_offer,
        disk_of=plenty,
        model_of=not_there,
        trust=nothing_left,
    ), refreshed


async def collect(records, into):
    async for record in records:
        into.append(record["status"])


async def settle():
    for _ in range(10):
        await asyncio.sleep(0)


def test_many_callers_share_one_download_and_all_see_its_end():
    async def run():
        state, registry = fleet("a", "b"), Registry()
        lib, refreshed = library(state, registry)
        seen = [[], [], []]
        names = ["llama3", "LLAMA3:latest", "registry.ollama.ai/library/llama3"]
        tasks = [
            asyncio.create_task(collect(lib.pull(n), s)) for n, s in zip(names, seen, strict=True)
        ]
        await settle()
        registry.say({"status": "pulling manifest"}, {**LAYER, "completed": 4})
        await settle()
        (pull,) = state.pulls.values()
        assert (pull.completed_bytes, pull.total_bytes) == (4, 10)
        registry.say({"status": "success"})
        await asyncio.gather(*tasks)
        assert len(registry.pulls) == 1
        assert all(s[-1] == "success" for s in seen)
        assert refreshed == ["/store"], "the stores are read again before anyone is told of success"
        assert not state.pulls

    asyncio.run(run())


def test_figures_that_are_none_are_passed_on_and_counted_as_nothing():
    async def run():
        state, registry = fleet("a"), Registry()
        lib, _ = library(state, registry)
        seen = []
        task = asyncio.create_task(collect(lib.pull("m"), seen))
        await settle()
        registry.say(*({**LAYER, "completed": odd} for odd in ("4", None, [], {"a": 1})))
        await settle()
        (pull,) = state.pulls.values()
        assert (pull.completed_bytes, pull.total_bytes) == (0, 10)
        registry.say({"status": "success"})
        await task
        assert seen[-1] == "success"

    asyncio.run(run())


def test_nobody_has_to_hear_of_a_pull_that_fails_when_all_have_left():
    async def run():
        unheard = []
        asyncio.get_running_loop().set_exception_handler(lambda _loop, about: unheard.append(about))
        registry = Registry()
        lib, _ = library(fleet("a"), registry)
        task = asyncio.create_task(collect(lib.pull("m"), []))
        await settle()
        registry.say(OllamaError("no", 500))
        task.cancel()
        await asyncio.wait([task])
        await settle()
        assert task.cancelled()
        del task
        gc.collect()
        await settle()
        assert unheard == []
        assert not lib._jobs._jobs

    asyncio.run(run())


def test_a_late_caller_is_told_first_what_is_there_already():
    async def run():
        registry = Registry()
        lib, _ = library(fleet("a"), registry)
        first, late = [], []
        one = asyncio.create_task(collect(lib.pull("m"), first))
        await settle()
        registry.say({**LAYER, "completed": 4}, {"status": "verifying sha256 digest"})
        await settle()
        two = asyncio.create_task(collect(lib.pull("m"), late))
        await settle()
        assert late == ["pulling abc", "verifying sha256 digest"]
        registry.say({"status": "success"})
        await asyncio.gather(one, two)

    asyncio.run(run())


def test_the_download_stops_only_when_the_last_caller_has_left():
    async def run():
        registry = Registry()
        lib, _ = library(fleet("a"), registry)
        tasks = [asyncio.create_task(collect(lib.pull("m"), [])) for _ in range(3)]
        await settle()
        for task in tasks[:2]:
            task.cancel()
        await settle()
        assert registry.stopped == 0
        tasks[2].cancel()
        await settle()
        assert registry.stopped == 1
        again = []
        task = asyncio.create_task(collect(lib.pull("m"), again))
        await settle()
        registry.say({"status": "success"})
        await task
        assert again[-1] == "success", "a later pull starts anew"

    asyncio.run(run())


def test_an_error_reaches_every_caller():
    async def run():
        registry = Registry()
        lib, refreshed = library(fleet("a"), registry)
        tasks = [asyncio.create_task(collect(lib.pull("m"), [])) for _ in range(2)]
        await settle()
        registry.say(OllamaError("file does not exist", status=200))
        for task in tasks:
            with pytest.raises(OllamaError, match="file does not exist"):
                await task
        assert not refreshed

    asyncio.run(run())


def test_if_the_downloading_instance_dies_another_takes_its_place():
    async def run():
        state, registry = fleet("a", "b"), Registry()
        lib, _ = library(state, registry)
        seen = []
        task = asyncio.create_task(collect(lib.pull("m"), seen))
        await settle()
        (dead, _, _) = registry.pulls[0]
        state.set_phase(state.instances[dead], Phase.BACKOFF, 0.0)
        registry.say(OllamaError("connection lost"))
        await settle()
        registry.say({"status": "success"})
        await task
        assert [name for name, _, _ in registry.pulls] == ["a", "b"]
        assert f"{dead} was lost, going on elsewhere" in seen

    asyncio.run(run())


def test_a_lost_connection_is_a_loss_though_nobody_has_seen_the_instance_die_yet():
    async def run():
        registry = Registry()
        lib, _ = library(fleet("a", "b"), registry)
        task = asyncio.create_task(collect(lib.pull("m"), []))
        await settle()
        registry.say(OllamaError("connection lost"))
        await settle()
        registry.say({"status": "success"})
        await task
        assert [name for name, _, _ in registry.pulls] == ["a", "b"]

    asyncio.run(run())


def alone(tmp_state, registry, sleep):
    """A library of one instance, whose pauses are the test's."""
    patience = pulls.patience.Patience(sleep=sleep)
    mutations = Mutations(tmp_state, lambda _store: asyncio.sleep(0))
    return pulls.Library(
        tmp_state,
        registry.client,
        mutations,
        offer=no_offer,
        patience=patience,
        disk_of=plenty,
        model_of=not_there,
        trust=nothing_left,
    )


def test_a_lone_instance_that_is_lost_goes_on_when_it_is_back():
    async def run():
        state, registry, seen, slept = fleet("a"), Registry(), [], []
        instance = state.instances["a"]

        async def sleep(pause_s):
            slept.append(pause_s)
            if sum(slept) > 3:
                state.set_phase(instance, Phase.READY, 0.0)

        task = asyncio.create_task(collect(alone(state, registry, sleep).pull("m"), seen))
        await settle()
        state.set_phase(instance, Phase.BACKOFF, 0.0)
        registry.say(OllamaError("connection lost"))
        await settle()
        registry.say({"status": "success"})
        await task
        assert "a was lost, going on when it is back" in seen
        assert slept == [0.5, 1.0, 2.0]

    asyncio.run(run())


def test_an_instance_that_does_not_come_back_is_named_and_the_wait_has_an_end():
    async def run():
        state, registry, slept = fleet("a"), Registry(), []

        async def sleep(pause_s):
            slept.append(pause_s)

        task = asyncio.create_task(collect(alone(state, registry, sleep).pull("m"), []))
        await settle()
        state.set_phase(state.instances["a"], Phase.BACKOFF, 0.0)
        registry.say(OllamaError("connection lost"))
        with pytest.raises(OllamaError, match="a was lost while it pulled: connection lost"):
            await task
        assert sum(slept) < 60

    asyncio.run(run())


def test_what_was_removed_while_a_pull_ran_is_fetched_again_before_its_success_is_told():
    """A removal may take layers along that the pull had found in the store."""

    async def run():
        state, registry = fleet("a", "b"), Registry()
        mutations = Mutations(state, lambda _store: asyncio.sleep(0))
        lib = pulls.Library(
            state,
            registry.client,
            mutations,
            offer=no_offer,
            disk_of=plenty,
            model_of=not_there,
            trust=nothing_left,
        )
        seen = []
        task = asyncio.create_task(collect(lib.pull("m"), seen))
        await settle()
        async with mutations.removing("/store"):
            registry.say({"status": "success"})
            await settle()
        await settle()
        assert [name for name, _, _ in registry.pulls] == ["a", "a"]
        assert "success" not in seen
        registry.say({"status": "success"})
        await task
        assert seen[-1] == "success"
        assert len(registry.pulls) == 2

    asyncio.run(run())


def test_downloads_at_once_do_not_count_on_the_same_room():
    """Two of 10 GiB onto a disk with 12 GiB: one of them is refused, before the disk is full."""

    async def run():
        async def disk_of(_store):
            return Disk(1, 12 * GIB)

        registries = {"m": Registry(), "n": Registry()}

        def client(instance):
            class Client:
                def pull(self, name, *, insecure=False):
                    return registries[name].client(instance).pull(name, insecure=insecure)

            return Client()

        mutations = Mutations(fleet("a"), lambda _store: asyncio.sleep(0))
        lib = pulls.Library(
            mutations._state,
            client,
            mutations,
            offer=no_offer,
            disk_of=disk_of,
            model_of=not_there,
            trust=nothing_left,  # which is looked for on threads, that a test's turns do not await
        )
        one, other = (asyncio.create_task(collect(lib.pull(n), [])) for n in registries)
        await settle()
        layer = {"status": "pulling", "total": 10 * GIB}
        registries["m"].say({**layer, "digest": "sha256:m"})
        await settle()
        registries["n"].say({**layer, "digest": "sha256:n"})
        with pytest.raises(OllamaError, match=r"12.0 GiB left, and 10.0 GiB are .* besides 10.0"):
            await other
        registries["m"].say({"status": "success"})
        await one
        again = asyncio.create_task(collect(lib.pull("n"), []))
        await settle()
        registries["n"].say({**layer, "digest": "sha256:n"}, {"status": "success"})
        await again

    asyncio.run(run())


def test_all_pulls_of_a_store_go_through_one_instance():
    """Two downloads of one blob in two processes would write one file."""

    async def run():
        state, registry = fleet("a", "b"), Registry()
        state.lease(state.instances["a"], "busy")
        lib, _ = library(state, registry)
        tasks = [asyncio.create_task(collect(lib.pull(name), [])) for name in ("m", "n", "m:cloud")]
        await settle()
        assert registry.pulls == [("a", "m", False), ("a", "n", False), ("a", "m:cloud", False)]
        registry.say(*[{"status": "success"}] * 3)
        await asyncio.gather(*tasks)

    asyncio.run(run())


def test_who_comes_when_the_last_watcher_has_just_left_gets_a_pull_of_its_own():
    async def run():
        registry = Registry()
        lib, _ = library(fleet("a"), registry)
        left = asyncio.create_task(collect(lib.pull("m"), []))
        await settle()
        left.cancel()
        await asyncio.sleep(0)  # it has left; its download has not heard of it yet
        seen = []
        task = asyncio.create_task(collect(lib.pull("m"), seen))
        await settle()
        registry.say({"status": "success"})
        await task
        assert seen == ["success"]

    asyncio.run(run())


def test_without_an_instance_that_is_up_the_reason_is_told():
    async def run():
        state = fleet("a")
        state.set_phase(state.instances["a"], Phase.BACKOFF, 0.0)
        lib, _ = library(state, Registry())
        with pytest.raises(OllamaError, match="no instance of the fleet is up"):
            await collect(lib.pull("m"), [])

    asyncio.run(run())


def test_a_name_that_is_none_is_refused_before_anything_happens():
    async def run():
        registry = Registry()
        lib, _ = library(fleet("a"), registry)
        with pytest.raises(ValueError, match="is not a model name"):
            await collect(lib.pull("../etc"), [])
        assert not registry.pulls

    asyncio.run(run())


@pytest.mark.parametrize(("begun", "pulls_made"), [(True, 2), (False, 1)])
def test_what_was_gone_on_with_and_is_spoilt_is_fetched_from_anew_but_only_once(begun, pulls_made):
    """A registry that has wrong bytes itself is not asked again and again."""

    async def run():
        state, registry = fleet("a"), Registry()

        async def trust(_job, _store):
            return begun

        lib = pulls.Library(
            state,
            registry.client,
            Mutations(state, lambda _store: asyncio.sleep(0)),
            offer=no_offer,
            disk_of=plenty,
            trust=trust,
        )
        for _ in range(3):
            registry.say(OllamaError("digest mismatch, file must be downloaded again", 500))
        with pytest.raises(OllamaError, match="digest mismatch"):
            await collect(lib.pull("m"), [])
        assert len(registry.pulls) == pulls_made

    asyncio.run(run())
