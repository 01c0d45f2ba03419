"""The models that fleet.yaml names, fetched in the background, on virtual time."""

import asyncio

from fleet_fixtures import fleet, spec

from ollama_fleet.config import Config
from ollama_fleet.control.library.plan import How, Step, SyncPlan
from ollama_fleet.control.preloads import Step as Loading
from ollama_fleet.control.preloads import Told
from ollama_fleet.errors import OllamaError
from ollama_fleet.fleet.declared import Declared, declared
from ollama_fleet.placement import Placement
from ollama_fleet.state import Phase, State

MISSING = SyncPlan((Step("m", "/store", "", How.DOWNLOAD, None),))


class Library:
    """Has a plan for each time it is asked, and an end for each sync."""

    def __init__(self, *plans, ends=()):
        self.plans, self.ends = list(plans), list(ends)
        self.asked, self.syncs = [], 0

    async def plan(self, models):
        self.asked.append(tuple(models))
        found = self.plans.pop(0) if self.plans else SyncPlan()
        if isinstance(found, Exception):
            raise found
        return found

    async def sync(self, _plan):
        self.syncs += 1
        yield self.ends.pop(0) if self.ends else {"model": "m", "status": "success"}


class Preloads:
    """Notes what is to be loaded where."""

    def __init__(self):
        self.loads = []

    async def load(self, name, on):
        self.loads.append((name, tuple(on)))
        yield Told(on[0], Loading.LOADED)


def ran(library, *, state=None, preloads=None, models=("m",), seconds=1000.0):
    """The pauses it made until its time was over, or it had no more to do."""
    pauses = []

    async def sleep(pause_s):
        pauses.append(pause_s)
        if sum(pauses) > seconds:
            await asyncio.Event().wait()

    async def run():
        state_ = state or fleet("a")
        async with Declared(state_, library, preloads or Preloads(), models, sleep=sleep):
            for _ in range(200):
                await asyncio.sleep(0)

    asyncio.run(run())
    return pauses


def test_models_are_named_by_groups_and_by_sections_each_once():
    config = Config.model_validate(
        {
            "groups": [{"name": "big", "gpus": [0], "models": ["llama3.3:70b"]}],
            "models": {"qwen3:8b": {}, "LLAMA3.3:70b": {}},
        }
    )
    assert [name.lower() for name in declared(config)] == ["llama3.3:70b", "qwen3:8b"]


def test_what_is_missing_is_fetched_once():
    library = Library(MISSING)
    assert ran(library) == []
    assert (library.asked, library.syncs) == ([("m",)], 1)


def test_where_nothing_is_missing_nothing_is_done():
    library = Library()
    assert ran(library) == []
    assert library.syncs == 0


def test_what_fails_is_tried_again_after_pauses_that_double_up_to_half_an_hour():
    failing = [{"model": "m", "error": "no route to host"}] * 20
    pauses = ran(Library(*[MISSING] * 20, ends=failing), seconds=10_000)
    assert pauses[:4] == [10.0, 20.0, 40.0, 80.0]
    assert max(pauses) == 1800.0


def test_a_disk_without_room_and_a_library_that_fails_are_tried_again_too():
    full = SyncPlan(MISSING.steps, problems=("the disk of /store is full",))
    library = Library(full, OllamaError("no answer"), MISSING)
    assert ran(library) == [10.0, 20.0]
    assert library.syncs == 1


def two_stores():
    """A state of two instances on stores of their own, of which `b` is not up."""
    specs = (spec("a", store="/a"), spec("b", store="/b"))
    state = State(Placement(specs))
    state.set_phase(state.instances["a"], Phase.READY, 0.0)
    state.set_phase(state.instances["b"], Phase.STARTING, 0.0)
    return state


def test_for_an_instance_that_does_not_come_up_the_others_wait_ten_seconds():
    library = Library(MISSING)
    assert ran(library, state=two_stores()) == [10.0]
    assert library.syncs == 1


def test_an_instance_that_comes_up_is_waited_for_no_longer_and_ends_a_pause():
    state, library = two_stores(), Library(MISSING, MISSING, ends=[{"model": "m", "error": "no"}])

    async def run():
        async def for_ever(_seconds):
            await asyncio.Event().wait()

        async with Declared(state, library, Preloads(), ["m"], sleep=for_ever):
            await settle()
            assert library.syncs == 0
            state.set_phase(state.instances["b"], Phase.READY, 0.0)
            await settle()
            assert library.syncs == 1
            state.set_phase(state.instances["b"], Phase.BACKOFF, 0.0)
            await settle()
            assert library.syncs == 1, "one that is lost is no reason"

    asyncio.run(run())


def test_who_is_back_is_served_before_the_pause_is_over():
    state, library = two_stores(), Library(MISSING, MISSING, ends=[{"model": "m", "error": "no"}])

    async def run():
        pauses = []

        async def sleep(pause_s):
            pauses.append(pause_s)
            if pauses[1:]:
                await asyncio.Event().wait()

        async with Declared(state, library, Preloads(), ["m"], sleep=sleep):
            await settle()
            assert library.syncs == 1
            state.set_phase(state.instances["b"], Phase.READY, 0.0)
            await settle()
            assert library.syncs == 2

    asyncio.run(run())


async def settle():
    for _ in range(20):
        await asyncio.sleep(0)


def test_without_declared_models_nothing_runs():
    library = Library(MISSING)
    ran(library, models=())
    assert library.asked == []
