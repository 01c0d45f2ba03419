"""The plan of a sync: laws over any stores on any disks, and its rules one by one."""

from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.control.library.plan import Held, How, Place, plan_sync
from ollama_fleet.control.stores import Disk, Layer, Manifest, Store
from ollama_fleet.names import canonical

GIB = 2**30
PLENTY = 1000 * GIB


def manifest(model, version=1, size_bytes=GIB):
    key = canonical(model)
    blob = Layer(f"sha256:{version:064x}", size_bytes)
    return Manifest(
        model, key, key.replace(":", "/"), f"{version:064x}", version * 10**9, (blob,), b""
    )


def store(path, *models, disk=1, free_bytes=PLENTY):
    blobs = {layer.digest: layer.size_bytes for m in models for layer in m.layers}
    return Store(Path(path), models, blobs, disk=Disk(disk, free_bytes))


def place(name, *models, **where):
    return Place.of(name, (name,), store(name, *models, **where))


def remote(name, **held):
    return Place(name, (name,), {canonical(m): Held(f"{v:064x}", v) for m, v in held.items()})


def carried_out(places, steps):
    """What the places hold when all steps are done, one after another; each must be possible."""
    now = {p.name: dict(p.held) for p in places}
    for step in steps:
        key = canonical(step.model)
        if step.source:
            now[step.target][key] = now[step.source][key]
        else:
            newest = max(
                (h[key] for h in now.values() if key in h), key=lambda h: h.modified_s, default=None
            )
            now[step.target][key] = newest or Held("new", 9)
    return now


MODELS = ("a", "b")


@st.composite
def fleets(draw):
    found = []
    for n in range(draw(st.integers(1, 4))):
        versions = {m: draw(st.integers(0, 2)) for m in MODELS}
        if draw(st.booleans()):
            had = [manifest(m, v) for m, v in versions.items() if v]
            found.append(place(f"/s{n}", *had, disk=draw(st.integers(1, 2))))
        else:
            found.append(remote(f"http://r{n}", **{m: v for m, v in versions.items() if v}))
    return found


@given(fleets())
def test_when_all_is_done_every_place_holds_the_same_of_every_model(places):
    plan = plan_sync(MODELS, places)
    now = carried_out(places, plan.steps)
    for model in MODELS:
        assert len({held[canonical(model)].digest for held in now.values()}) == 1


@given(fleets())
def test_what_any_store_of_this_machine_holds_in_its_newest_form_is_not_downloaded(places):
    for step in plan_sync(MODELS, places).steps:
        key = canonical(step.model)
        newest = max(
            (p.held[key] for p in places if key in p.held),
            key=lambda h: (h.modified_s, h.digest),
            default=None,
        )
        ours = any(p.store and p.held.get(key) == newest for p in places if newest)
        assert (step.how is How.DOWNLOAD) <= (not ours)


@given(fleets())
def test_a_store_that_nobody_has_a_model_of_is_given_one_download_for_all_of_this_machine(places):
    for model in MODELS:
        steps = [s for s in plan_sync(MODELS, places).steps if s.model == model]
        local = {p.name for p in places if p.store}
        assert sum(s.how is How.DOWNLOAD and s.target in local for s in steps) <= 1


def test_a_store_on_the_same_disk_links_another_copies_an_instance_elsewhere_pulls():
    m = manifest("m")
    places = [place("/a", m), place("/b"), place("/c", disk=2), remote("http://r")]
    steps = plan_sync(["m"], places).steps
    assert [(s.target, s.source, s.how, s.size_bytes) for s in steps] == [
        ("/b", "/a", How.LINK, 0),
        ("/c", "/a", How.COPY, GIB),
        ("http://r", "/a", How.SERVE, GIB),
    ]


def test_a_blob_that_another_model_brought_is_not_counted_again():
    m, same = manifest("m"), replace(manifest("n"), digest="f" * 64)
    (step,) = plan_sync(["m"], [place("/a", m), place("/b", same, disk=2)]).steps
    assert (step.how, step.size_bytes) == (How.LINK, 0)


def test_a_disk_gets_each_blob_once_whatever_stores_and_names_want_it():
    m = manifest("m", size_bytes=6 * GIB)
    twin = replace(manifest("n", size_bytes=6 * GIB), digest="f" * 64)
    far = {"disk": 2, "free_bytes": 10 * GIB}
    places = [place("/a", m, twin), place("/c", **far), place("/d", **far)]
    plan = plan_sync(["m", "n", "M:latest"], places)
    assert [(s.model, s.target, s.source, s.how, s.size_bytes) for s in plan.steps] == [
        ("m", "/c", "/a", How.COPY, 6 * GIB),
        ("m", "/d", "/c", How.LINK, 0),
        ("n", "/c", "/a", How.LINK, 0),
        ("n", "/d", "/c", How.LINK, 0),
    ]
    assert not plan.problems, "there is room for one"


@given(fleets())
def test_no_more_is_counted_for_a_disk_than_the_models_that_it_lacks(places):
    steps = plan_sync(MODELS, places).steps
    for disk in (1, 2):
        here = {p.name for p in places if p.store and p.store.disk.device == disk}
        copied = sum(s.size_bytes or 0 for s in steps if s.target in here)
        assert copied <= len(MODELS) * GIB


def test_a_damaged_model_is_not_there():
    m = manifest("m")
    hurt = Place.of("/b", ("b",), replace(store("/b", m), blobs={}))
    (step,) = plan_sync(["m"], [place("/a", m), hurt]).steps
    assert (step.source, step.target) == ("/a", "/b")


def test_the_newest_of_two_that_differ_counts_and_the_other_is_said_to_be_replaced():
    plan = plan_sync(["m"], [place("/a", manifest("m", 1)), place("/b", manifest("m", 2))])
    (step,) = plan.steps
    assert (step.source, step.target, step.replaces) == ("/b", "/a", True)
    (conflict,) = plan.conflicts
    assert "/a has" in conflict


def test_the_origin_counts_though_it_is_older_and_is_a_problem_where_it_lacks_the_model():
    places = [place("/a", manifest("m", 1)), place("/b", manifest("m", 2), manifest("n"))]
    plan = plan_sync(["m", "n"], places, origin="/a")
    assert [(s.model, s.source, s.target) for s in plan.steps] == [("m", "/a", "/b")]
    assert plan.problems == ("n: /a does not have it",)


def test_copies_that_do_not_fit_together_are_a_problem_links_are_none():
    a = place("/a", manifest("m", 1, 6 * GIB), manifest("n", 2, 6 * GIB), free_bytes=0)
    near, far = place("/b", free_bytes=0), place("/c", disk=2, free_bytes=10 * GIB)
    assert not plan_sync(["m", "n"], [a, near]).problems
    assert not plan_sync(["m"], [a, near, far]).problems
    (problem,) = plan_sync(["m", "n"], [a, near, far]).problems
    assert "/c" in problem


def test_only_with_prune_what_is_not_named_is_to_go_and_only_from_stores_of_this_machine():
    places = [place("/a", manifest("m"), manifest("old", 2)), remote("http://r", m=1, old=2)]
    assert plan_sync(["M:latest"], places).removals == {}
    assert plan_sync(["M:latest"], places, prune=True).removals == {"/a": ("old",)}


@given(fleets())
def test_a_second_plan_after_all_is_done_has_nothing_to_do(places):
    now = carried_out(places, plan_sync(MODELS, places).steps)
    versions = {p.name: {m: now[p.name][canonical(m)] for m in MODELS} for p in places}
    after = []
    for p in places:
        had = [
            replace(manifest(m), digest=h.digest, modified_ns=int(h.modified_s * 10**9))
            for m, h in versions[p.name].items()
        ]
        held = {canonical(m): h for m, h in versions[p.name].items()}
        after.append(
            Place.of(p.name, p.instances, store(p.name, *had)) if p.store else replace(p, held=held)
        )
    assert not plan_sync(MODELS, after).steps


def test_a_model_is_brought_to_the_places_that_it_is_for_and_others_keep_what_they_have():
    new, old = manifest("m", 2), manifest("m", 1)
    places = [place("/a", new), place("/b"), place("/c", old)]
    plan = plan_sync(["m"], places, meant=lambda _key: ("/a", "/b"))
    assert [(step.target, step.source) for step in plan.steps] == [("/b", "/a")]
    assert not plan.conflicts


def test_what_only_a_place_has_that_it_is_not_for_comes_from_there():
    places = [place("/a"), place("/b", manifest("m"))]
    plan = plan_sync(["m"], places, meant=lambda _key: ("/a",))
    assert [(step.target, step.source) for step in plan.steps] == [("/a", "/b")]


def test_what_it_is_for_says_which_is_the_right_one():
    """Not a newer one that nobody may ask for."""
    places = [place("/a", manifest("m", 1)), place("/b"), place("/c", manifest("m", 2))]
    plan = plan_sync(["m"], places, meant=lambda _key: ("/a", "/b"))
    assert [(step.target, step.source) for step in plan.steps] == [("/b", "/a")]
