"""Changes of stores: who makes them, and which exclude which."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from fleet_fixtures import hold, spec
from hypothesis import given
from hypothesis import strategies as st
from made_store import put_model

from ollama_fleet.control import mutations as changes
from ollama_fleet.control.mutations import Mutations
from ollama_fleet.names import canonical
from ollama_fleet.placement import InstanceSpec, Placement
from ollama_fleet.state import Phase, State


async def nothing(_store):
    """Nobody asks what a store holds."""


def state_of(*specs):
    state = State(Placement(specs))
    for instance in state.instances.values():
        state.set_phase(instance, Phase.READY, 0.0)
    return state


def external(name):
    return InstanceSpec(
        name, name, "far", 1, 1, f"http://{name}", external=True, url=f"http://{name}"
    )


def down(state, *names):
    for name in names:
        state.set_phase(state.instances[name], Phase.BACKOFF, 0.0)


def test_a_model_that_no_instance_lists_is_where_it_lies_on_disk(tmp_path):
    """A store whose instances have not been up yet, or a model that lacks too much to be listed."""
    stores = [tmp_path / name for name in "abc"]
    state = state_of(*(spec(store.name, store=str(store)) for store in stores), external("e"))
    put_model(stores[1], "m/latest", b"weights")
    hold(state, state.instances["c"], "m")
    hold(state, state.instances["e"], "m")
    mutations = Mutations(state, nothing)
    found = asyncio.run(mutations.holding(canonical("m")))
    assert found == (str(stores[1]), str(stores[2]))
    assert asyncio.run(mutations.holding(canonical("n"))) == ()
    alone = state_of(external("e"))
    hold(alone, alone.instances["e"], "m")
    assert asyncio.run(Mutations(alone, nothing).holding(canonical("m"))) == ("http://e",)


def test_the_first_that_is_up_makes_every_change():
    state = state_of(spec("a"), spec("b"), spec("c", store="/other"))
    mutations = Mutations(state, nothing)
    assert mutations.hands("/store") == {"a"}
    down(state, "a")
    assert mutations.hands("/store") == {"b"}
    assert mutations.designated("/store", tried={"b"}) is None
    down(state, "b")
    assert mutations.hands("/store") == {"a", "b"}, "whoever is up first"


def test_a_change_goes_to_the_stores_that_have_the_model_else_to_the_first():
    state = state_of(spec("a"), spec("b", store="/other"), spec("c"), external("d"))
    mutations = Mutations(state, nothing)
    assert mutations.stores(canonical("m")) == ("/store",)
    hold(state, state.instances["b"], "m")
    assert mutations.stores(canonical("m")) == ("/other",)
    hold(state, state.instances["c"], "m")
    assert mutations.stores(canonical("m")) == ("/other", "/store")
    assert mutations.stores() == ("/store",)


def test_external_instances_are_changed_only_where_there_are_no_others():
    state = state_of(external("d"), spec("a"))
    hold(state, state.instances["d"], "m")
    assert Mutations(state, nothing).stores(canonical("m")) == ("/store",)
    alone = state_of(external("d"), external("e"))
    hold(alone, alone.instances["e"], "m")
    assert Mutations(alone, nothing).stores(canonical("m")) == ("http://e",)
    assert Mutations(alone, nothing).hands("http://e") == {"e"}


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 4)), min_size=1, max_size=12))
def test_additions_overlap_removals_are_alone_and_everyone_has_a_turn(wanted):
    """Whatever comes when: never a removal beside anything else, and all of them end."""

    async def run():
        mutations = Mutations(state_of(spec("a")), nothing)
        inside = []

        async def change(removes, steps):
            turn = mutations.removing if removes else mutations.adding
            async with turn("/store"):
                inside.append(removes)
                for _ in range(steps):
                    assert not any(inside) or len(inside) == 1
                    await asyncio.sleep(0)
                inside.remove(removes)

        async with asyncio.timeout(20), asyncio.TaskGroup() as group:
            for removes, steps in wanted:
                group.create_task(change(removes, steps))
                await asyncio.sleep(0)
        return await mutations.removals("/store")

    assert asyncio.run(run()) == sum(removes for removes, _ in wanted)


def test_stores_do_not_wait_for_one_another():
    async def run():
        mutations = Mutations(state_of(spec("a"), spec("b", store="/other")), nothing)
        async with asyncio.timeout(20), AsyncExitStack() as stack:
            await stack.enter_async_context(mutations.removing("/store"))
            await stack.enter_async_context(mutations.removing("/other"))

    asyncio.run(run())


def test_who_gives_up_waiting_or_fails_leaves_nothing_behind():
    async def run():
        mutations = Mutations(state_of(spec("a")), nothing)

        async def remove():
            async with mutations.removing("/store"):
                raise RuntimeError("the instance was lost")

        async with mutations.adding("/store"):
            waiting = [asyncio.create_task(remove()) for _ in range(2)]
            await asyncio.sleep(0)
            waiting[0].cancel()
        with pytest.raises(RuntimeError):
            await waiting[1]
        async with asyncio.timeout(20), mutations.removing("/store"):
            pass

    asyncio.run(run())


def test_removals_are_counted_once_they_have_ended():
    async def run():
        mutations = Mutations(state_of(spec("a")), nothing)
        async with mutations.removing("/store"):
            count = asyncio.create_task(mutations.removals("/store"))
            await asyncio.sleep(0)
            assert not count.done()
        assert await count == 1

    asyncio.run(run())


def test_a_store_that_cannot_be_read_anew_holds_nobody_up_for_ever(monkeypatch):
    monkeypatch.setattr(changes, "_REFRESH_S", 0.0)

    async def never(_store):
        await asyncio.get_running_loop().create_future()

    async def run():
        async with asyncio.timeout(20):
            await Mutations(state_of(spec("a")), never).refresh("/store")

    asyncio.run(run())
