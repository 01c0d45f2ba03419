"""Which models are where: what is made of the instances' lists, and of the pulls that run."""

from dataclasses import replace

import pytest
from fleet_fixtures import fleet, hold, resident, spec, stored

from ollama_fleet.names import canonical
from ollama_fleet.placement import Placement
from ollama_fleet.state import Phase, Pull, State, Want
from ollama_fleet.state.models import Flaw, Place, Presence, Shelves, models

M = canonical("m")


def two_stores():
    state = State(Placement((spec("a"), spec("b", store="/other"))))
    for instance in state.instances.values():
        state.set_phase(instance, Phase.READY, 0.0)
    return state


def presences(state):
    """By model and instance; who has none is not there."""
    return {
        (model.name, place.instance): place.presence
        for model in models(state).models
        for place in model.places
    }


def test_what_is_on_disk_somewhere_is_a_model_with_a_place_for_each_who_has_it():
    state = two_stores()
    a, b = state.instances.values()
    hold(state, a, "m", "n")
    hold(state, b, "m")
    assert presences(state) == {
        ("m", "a"): Presence.ON_DISK,
        ("m", "b"): Presence.ON_DISK,
        ("n", "a"): Presence.ON_DISK,
    }
    (m, _) = models(state).models
    assert (m.digest, m.size_bytes, m.conflict) == ("d-m", 1, False)


def test_a_model_in_memory_says_how_much_of_it_is_on_the_gpu():
    state = fleet("a")
    on = replace(resident("m"), size_bytes=100, vram_bytes=40, expires_at="then")
    state.set_resident(state.instances["a"], [on])
    (m,) = models(state).models
    place = Place("a", Presence.RESIDENT, memory_bytes=100, vram_bytes=40, expires_at="then")
    assert m.places == (place,)


def test_a_second_name_of_weights_in_memory_is_in_memory():
    """Whoever asks for it by that name waits for no load."""
    state = fleet("a")
    one, two = (stored(name, blob="weights") for name in ("m", "n"))
    state.set_stored(state.instances["a"], [one, two])
    state.set_resident(state.instances["a"], [resident("m")])
    assert set(presences(state).values()) == {Presence.RESIDENT}


def test_what_is_being_loaded_is_loading_there_and_nowhere_else():
    state = fleet("a", "b")
    state.on_want.append(lambda _want: None)
    a = state.instances["a"]
    state.want(Want(a, a.residency(M), "m", "/api/generate", ()))
    assert presences(state) == {("m", "a"): Presence.LOADING, ("m", "b"): Presence.ON_DISK}


def test_a_model_that_was_removed_while_in_memory_is_still_there():
    state = fleet("a")
    state.set_resident(state.instances["a"], [resident("m")])
    hold(state, state.instances["a"])
    assert presences(state) == {("m", "a"): Presence.RESIDENT}


def test_one_name_with_two_digests_is_two_models_in_conflict():
    state = two_stores()
    a, b = state.instances.values()
    hold(state, a, "m", "n")
    state.set_stored(b, [replace(stored("m"), digest="another"), stored("n")])
    found = [(m.name, m.digest, m.conflict) for m in models(state).models]
    assert found == [("m", "another", True), ("m", "d-m", True), ("n", "d-n", False)]


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_pull_makes_its_model_partial_on_all_of_its_store(elsewhere):
    """Where the store has it already, or another store does, nothing of that changes."""
    state = State(Placement((spec("a"), spec("b"), spec("c", store="/other"))))
    if elsewhere:
        hold(state, state.instances["c"], "m")
    state.pulls[M] = Pull("m", "a", "pulling", completed_bytes=30, total_bytes=40)
    (m,) = models(state).models
    assert (m.name, m.conflict) == ("m" if elsewhere else "m:latest", False)
    partial = [p for p in m.places if p.presence is Presence.PARTIAL]
    assert [(p.instance, p.done_ratio) for p in partial] == [("a", 0.75), ("b", 0.75)]
    assert ("c" in {p.instance for p in m.places}) == elsewhere


def test_a_refresh_of_a_model_leaves_it_on_disk():
    state = fleet("a")
    state.pulls[M] = Pull("m", "a", "pulling", completed_bytes=1, total_bytes=2)
    assert presences(state) == {("m", "a"): Presence.ON_DISK}


def test_a_model_that_lacks_blobs_is_damaged_until_it_is_in_memory():
    """What runs has all that it needs."""
    state = fleet("a", "b")
    a, b = state.instances.values()
    state.set_resident(b, [resident("m")])
    on_disk = Shelves(flaws={"/store": {M: Flaw("blob x is missing")}})
    (m,) = models(state, (), on_disk).models
    assert [(p.presence, p.damage) for p in m.places] == [
        (Presence.DAMAGED, "blob x is missing"),
        (Presence.RESIDENT, ""),
    ]
    assert a.name == m.places[0].instance


def test_a_model_that_lacks_so_much_that_ollama_lists_it_no_more_is_listed_as_damaged():
    state = two_stores()
    hold(state, state.instances["a"], "m")
    damaged = Flaw("blob x is missing")
    on_disk = Shelves(flaws={"/other": {M: damaged, canonical("gone:1"): damaged}})
    gone, m = models(state, (), on_disk).models
    lost = Place("b", Presence.DAMAGED, damage="blob x is missing")
    assert (gone.name, gone.places, gone.conflict) == ("gone:1", (lost,), False)
    assert m.places == (Place("a", Presence.ON_DISK), lost)


def test_a_part_that_a_pull_has_left_is_partial_where_the_model_is_not():
    state = two_stores()
    a, _ = state.instances.values()
    hold(state, a, "m")
    on_disk = Shelves(flaws={"/other": {M: Flaw(done_ratio=0.25), "gone": Flaw(done_ratio=0.5)}})
    (m,) = models(state, (), on_disk).models
    assert m.places[1:] == (Place("b", Presence.PARTIAL, done_ratio=0.25),)
    state.pulls[M] = Pull("m", "b", "pulling", completed_bytes=1, total_bytes=2)
    (m,) = models(state, (), on_disk).models
    assert m.places[1:] == (Place("b", Presence.PARTIAL, done_ratio=0.5),), "as the pull says"


def test_a_copy_to_another_store_is_partial_there_while_the_pull_goes_on():
    """The store that downloads has the model already; the other is on its way to it."""
    state = two_stores()
    hold(state, state.instances["a"], "m")
    state.pulls[M] = Pull("m", "a", "copying", completed_bytes=2, total_bytes=2)
    (m,) = models(state, (), Shelves(flaws={"/other": {M: Flaw(done_ratio=0.1)}})).models
    assert [(p.instance, p.presence, p.done_ratio) for p in m.places] == [
        ("a", Presence.ON_DISK, 0.0),
        ("b", Presence.PARTIAL, 0.1),
    ]


def test_the_list_is_bounded_and_says_what_it_leaves_out():
    state = fleet("a", models=[f"m{n}" for n in range(7)])
    listed = models(state, limit=3)
    assert ([m.name for m in listed.models], listed.left_out) == (["m0", "m1", "m2"], 4)


def test_prefixes_choose_whatever_their_case():
    state = fleet("a", models=["llama3", "LLaMA2", "qwen", "phi"])
    chosen = models(state, ["llama", "QW"]).models
    assert [m.name for m in chosen] == ["LLaMA2", "llama3", "qwen"]


def test_an_instance_whose_store_was_never_read_is_not_known():
    """What it lacks is not known, either."""
    state = two_stores()
    a, b = state.instances.values()
    state.set_phase(a, Phase.STARTING, 0.0)
    state.set_phase(b, Phase.BACKOFF, 0.0)
    hold(state, b, "m")
    assert [home.known for home in models(state).instances] == [False, True]
