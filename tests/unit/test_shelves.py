"""What is told of the stores on a machine, from what was read of them."""

from pathlib import Path

from fleet_fixtures import spec

from ollama_fleet.control.shelves import shelves_of, store_paths
from ollama_fleet.control.stores import Disk, Layer, Manifest, Partial, Store
from ollama_fleet.placement import InstanceSpec, Placement
from ollama_fleet.state import State
from ollama_fleet.state.models import Flaw, Shelf

WEIGHTS, CONFIG = Layer("sha256:" + "a" * 64, 90), Layer("sha256:" + "b" * 64, 10)


def manifest(name="m:1", layers=(WEIGHTS, CONFIG)):
    return Manifest(name, name, name, "d", 0, layers, b"{}")


def blobs(*layers):
    return {layer.digest: layer.size_bytes for layer in layers}


def flaws(*stores):
    return shelves_of(stores).flaws


def test_a_store_that_has_all_has_no_flaw():
    whole = Store(Path("/a"), (manifest(),), blobs(WEIGHTS, CONFIG), disk=Disk(1, 5))
    assert flaws(whole) == {"/a": {}}
    assert shelves_of([whole]).shelves == (Shelf("/a", free_bytes=5),)


def test_blobs_that_are_not_as_the_model_says_are_its_damage():
    store = Store(Path("/a"), (manifest(),), {CONFIG.digest: 7})
    damage = "blob aaaaaaaaaaaa is missing, blob bbbbbbbbbbbb is of the wrong size"
    assert flaws(store) == {"/a": {"m:1": Flaw(damage)}}


def test_a_part_of_a_model_that_another_store_has_is_told_by_how_much_of_it_is_there():
    whole = Store(Path("/a"), (manifest(),), blobs(WEIGHTS, CONFIG))
    partial = Partial(WEIGHTS.digest, 30, 90)
    assert flaws(whole, Store(Path("/b"), blobs=blobs(CONFIG), partials=(partial,)))["/b"] == {
        "m:1": Flaw(done_ratio=0.4)
    }


def test_blobs_that_two_models_share_make_no_part_of_the_other():
    """Only a blob that is not complete says that somebody wanted the model."""
    whole = Store(Path("/a"), (manifest(),), blobs(WEIGHTS, CONFIG))
    assert flaws(whole, Store(Path("/b"), blobs=blobs(CONFIG)))["/b"] == {}


def test_a_store_says_what_could_not_be_read_within_bounds():
    store = Store(Path("/a"), unreadable=tuple(map(str, range(1000))))
    (shelf,) = shelves_of([store]).shelves
    assert 0 < len(shelf.unreadable) < 100


def test_only_stores_of_our_own_instances_are_read():
    theirs = InstanceSpec("x", "x", "far", 1, 1, "http://x", external=True, url="http://x")
    specs = (spec("a"), spec("b", store="/other"), spec("c"), theirs)
    assert store_paths(State(Placement(specs))) == ("/store", "/other")
