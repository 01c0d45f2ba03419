"""Old weights go and new ones come: one instance of a model at a time, on virtual time."""

import asyncio
import random
from contextlib import asynccontextmanager

import pytest
from fleet_fixtures import asks, fleet, resident, strategy
from virtual_time import now, passes, run

from ollama_fleet.control.loads import Loads
from ollama_fleet.control.mutations import Mutations
from ollama_fleet.control.preloads import Preloads
from ollama_fleet.control.reloads import Reload, Reloads, announced, decide
from ollama_fleet.errors import OllamaError
from ollama_fleet.names import canonical
from ollama_fleet.router.desk import Desk
from ollama_fleet.router.queue import Waiter
from ollama_fleet.state import Kind, Phase, Residency, ResidentModel, StoredModel, Want
from ollama_fleet.state.memory import superseded

M = canonical("m")
LOAD_S = 3.0
DRAIN_S = 60.0
PASSING = "fleet-reload/"


def model(version, *, name="m", weights=None, profile=(), **row):
    """A version of a model; its weights are the version's unless they are given."""
    blob = f"sha256:{weights or version:0>64}"
    row = {"name": name, **row}
    return StoredModel(canonical(name), name, f"d{version}", 1, row, blob=blob, profile=profile)


class Ollama:
    """One instance: what it has in memory, by weights; the old leave `busy_s` after being told."""

    def __init__(self, box, instance):
        self.box, self.instance = box, instance
        self.asked, self.errors, self.memory, self.busy_s = [], {}, {}, 0.0

    def has(self, *models, context_length=0):
        for one in models:
            self.memory[one.weights] = one, context_length

    async def name_weights(self, name, digest, *, timeout_s):
        self.note("name", name)
        assert timeout_s > 0
        self.box.passing[name] = digest

    async def unload(self, name, *, timeout_s):
        self.note("unload", name)
        assert timeout_s > 0
        weights = self.box.passing[name]
        asyncio.get_running_loop().call_later(self.busy_s, self.memory.pop, weights, None)

    async def copy(self, source, target, *, timeout_s):
        self.note("copy", target)
        assert timeout_s > 0
        self.box.passing[target] = source

    async def delete(self, name, *, timeout_s):
        self.note("delete", name)
        assert timeout_s > 0
        self.box.passing.pop(name, None)
        self.box.deleted.append(name)

    async def load_by(self, path, name, options, *, timeout_s):
        self.note("load", (path, dict(options)))
        assert timeout_s > 0
        self.box.loading += 1
        self.box.most_loading = max(self.box.most_loading, self.box.loading)
        await passes(LOAD_S)
        self.box.loading -= 1
        self.has(self.instance.stored[canonical(name)])

    def note(self, what, about):
        self.asked.append((what, about))
        if what in self.errors:
            raise self.errors[what]


class Box:
    """Instances on one store that all have version 1 of `m`, some of them in memory."""

    def __init__(self, *names):
        self.state = fleet(*names, slots=2)
        self.ollamas = {n: Ollama(self, i) for n, i in self.state.instances.items()}
        self.passing, self.deleted, self.loading, self.most_loading = {}, [], 0, 0
        self.out, self.left = [], []
        self.store(model(1))

    def store(self, *models):
        for instance in self.state.instances.values():
            self.state.set_stored(instance, models)

    def hold(self, *names, context_length=0):
        for name in names or self.ollamas:
            self.ollamas[name].has(model(1), context_length=context_length)
        self.list_all()

    def list_all(self):
        for instance in self.state.instances.values():
            self.list(instance)

    def list(self, instance):
        rows = [
            ResidentModel(
                one.key, one.name, 1, 1, "", {"digest": one.digest, "context_length": length}
            )
            for one, length in self.ollamas[instance.name].memory.values()
        ]
        self.state.set_resident(instance, rows)

    async def look(self, instance):
        self.list(instance)

    def look_again(self, instance):
        self.list(instance)

    def client(self, instance):
        return self.ollamas[instance.name]

    def watch(self):
        out = [i.name for i in self.state.instances.values() if M in i.reloading]
        if out and (not self.out or self.out[-1] != out):
            self.out.append(out)
            self.left.append(len(self.state.ready(M)))

    @asynccontextmanager
    async def reloading(self, *, drain_s=DRAIN_S):
        async def refresh(_store):
            self.list_all()

        self.state.on_change.append(self.watch)
        loads = Loads(self.state, self.client, answer_s=60.0)
        preloads = Preloads(self.state, loads, self.client, self, clock=now)
        mutations = Mutations(self.state, refresh)
        async with (
            loads,
            Reloads(self.state, self.client, mutations, preloads, self, drain_s=drain_s),
        ):
            yield

    def versions(self):
        """The digests in memory, by instance."""
        return {n: [m.digest for m, _ in o.memory.values()] for n, o in self.ollamas.items()}

    def loaded(self):
        return [n for n, o in self.ollamas.items() if any(what == "load" for what, _ in o.asked)]


def after(box, *, seconds=500.0, **more):
    """What the box is like when its model has been replaced for so long."""

    async def scenario():
        async with box.reloading(**more):
            box.store(model(2))
            await passes(seconds)

    run(scenario())
    return box


def test_each_in_its_turn_and_never_all_of_them_out():
    box = Box("a", "b", "c", "d")
    box.hold()
    for number, ollama in enumerate(box.ollamas.values()):
        ollama.busy_s = 5.0 * number
    after(box)
    assert sorted(box.out) == [["a"], ["b"], ["c"], ["d"]]
    assert box.left == [3, 3, 3, 3]
    assert box.most_loading == 1
    assert box.versions() == {name: ["d2"] for name in "abcd"}
    assert all(i.reloading == frozenset() for i in box.state.instances.values())


def test_what_was_not_in_memory_is_not_loaded():
    box = Box("a", "b")
    box.hold("b")
    after(box)
    assert box.loaded() == ["b"]
    assert box.versions() == {"a": [], "b": ["d2"]}


def test_the_new_weights_come_when_the_last_request_on_the_old_has_ended():
    box = Box("a")
    box.hold()
    box.ollamas["a"].busy_s = 20.0

    async def scenario():
        async with box.reloading():
            box.store(model(2))
            await passes(19.0)
            assert box.versions() == {"a": ["d1"]}
            assert not box.state.ready(M), "requests wait in the router"
            await passes(5.0)
            assert box.versions() == {"a": ["d2"]}
            assert [i.name for i in box.state.ready(M)] == ["a"]

    run(scenario())


def test_old_weights_are_told_to_go_everywhere_at_once():
    """They drive out nothing else, then, when requests have the new loaded beside them."""
    box = Box("a", "b", "c")
    box.hold()
    box.ollamas["a"].busy_s = 20.0

    async def scenario():
        async with box.reloading():
            box.store(model(2))
            await passes(1.0)
            assert box.versions() == {"a": ["d1"], "b": [], "c": []}
            assert not box.loading, "it is a's turn, on which requests still use the old weights"
            await passes(60.0)

    run(scenario())
    assert box.versions() == {"a": ["d2"], "b": ["d2"], "c": ["d2"]}


def test_the_same_runner_options_as_before():
    box = Box("a")
    box.state.instances["a"].default_context = 2048
    box.hold(context_length=8192)
    after(box)
    assert ("load", ("/api/generate", {"num_ctx": 8192})) in box.ollamas["a"].asked


def test_options_of_the_modelfile_are_the_new_ones_own_affair():
    box = Box("a")
    box.store(model(1, profile=(("num_ctx", 4096),)))
    box.ollamas["a"].has(model(1, profile=(("num_ctx", 4096),)))
    box.list_all()
    after(box)
    assert ("load", ("/api/generate", {})) in box.ollamas["a"].asked


def failures(box):
    """The reloads that fail from now on, as they are told of."""
    failed = []
    box.state.on_notice.append(
        lambda notice: failed.append(notice) if notice.kind is Kind.MODEL_RELOAD_FAILED else None
    )
    return failed


def test_requests_that_do_not_end_keep_an_instance_out_for_no_longer_than_the_drain():
    box = Box("a", "b")
    box.hold()
    box.ollamas["a"].busy_s = 1e5

    async def scenario():
        async with box.reloading(drain_s=30.0):
            box.store(model(2))
            await passes(100.0)
            assert box.versions() == {"a": ["d1"], "b": ["d2"]}
            assert not box.state.instances["a"].reloading

    failed = failures(box)
    run(scenario())
    (told,) = failed
    assert (told.instance, told.model) == ("a", "m")
    assert "requests still use the old weights" in told.text
    assert box.out == [["a"], ["b"]]


@pytest.mark.parametrize("what", ["name", "unload", "copy", "delete", "load"])
def test_one_that_fails_serves_again_and_is_named_and_the_next_has_its_turn(what):
    box = Box("a", "b")
    box.hold()
    box.ollamas["a"].errors[what] = OllamaError("out of luck", 500)
    told = failures(box)
    after(box)
    assert [notice.instance for notice in told] == ["a"]
    assert "out of luck" in told[0].text
    assert box.versions()["b"] == ["d2"]
    assert not any(i.reloading for i in box.state.instances.values())


def test_an_instance_that_is_lost_meanwhile_ends_its_turn():
    box = Box("a", "b")
    box.hold()
    box.ollamas["a"].busy_s = 1e5

    async def scenario():
        async with box.reloading():
            box.store(model(2))
            await passes(5.0)
            box.state.set_phase(box.state.instances["a"], Phase.BACKOFF, now(), "it crashed")
            await passes(30.0)

    run(scenario())
    assert box.versions()["b"] == ["d2"]
    assert not box.state.instances["a"].reloading


def test_one_that_was_started_anew_before_its_turn_has_nothing_to_reload():
    box = Box("a", "b")
    box.hold()
    box.ollamas["a"].busy_s = 20.0

    async def scenario():
        async with box.reloading():
            box.store(model(2))
            await passes(5.0)
            b = box.state.instances["b"]
            box.state.set_phase(b, Phase.STOPPED, now())
            b.starts += 1
            box.state.set_phase(b, Phase.READY, now())
            await passes(60.0)

    run(scenario())
    assert box.versions() == {"a": ["d2"], "b": []}
    assert (box.loaded(), box.out) == (["a"], [["a"]])


def test_a_name_for_the_moment_is_taken_away_and_takes_no_weights_along():
    """It stands for the new weights when it is deleted: those have a name that stays."""
    box = Box("a", "b")
    box.hold()
    after(box)
    steps = [what for what, _ in box.ollamas["a"].asked]
    assert steps == ["name", "unload", "copy", "delete", "load"]
    assert not box.passing
    assert all(name.startswith(PASSING) for name in box.deleted)


def test_names_that_a_killed_fleet_has_left_are_taken_away():
    box = Box("a", "b")

    async def scenario():
        async with box.reloading():
            box.store(model(1), model(7, name="fleet-reload/0123"))
            await passes(10.0)

    run(scenario())
    assert box.deleted == ["fleet-reload/0123"]


def test_one_that_has_the_new_weights_already_goes_on_serving():
    box = Box("a", "b")
    box.hold()

    async def scenario():
        box.store(model(2))
        box.ollamas["b"].has(model(2))
        box.list_all()
        async with box.reloading():
            await passes(60.0)

    run(scenario())
    assert box.out == [["a"]]
    assert box.versions() == {"a": ["d2"], "b": ["d2"]}
    assert box.loaded() == ["a"]


def test_weights_that_stay_are_not_loaded_again():
    """A new template over the same weights is read with the next request."""
    box = Box("a")
    box.hold()

    async def scenario():
        async with box.reloading():
            box.store(model(2, weights=1))
            await passes(60.0)

    run(scenario())
    assert box.ollamas["a"].asked == []


def test_weights_that_have_another_name_stay_in_memory():
    box = Box("a")
    copy = model(1, name="copy")
    box.store(model(1), copy)
    box.hold()

    async def scenario():
        async with box.reloading():
            box.store(model(2), copy)
            await passes(60.0)

    run(scenario())
    assert box.versions() == {"a": ["d1"]}
    assert not superseded(box.state.instances["a"])


def test_who_has_the_fewest_requests_on_the_old_weights_is_first():
    box = Box("a", "b", "c")
    box.hold()
    leases = [box.state.lease(box.state.instances[n], M) for n in ("a", "a", "c")]
    box.store(model(2))
    everyone = box.state.instances.values()
    owed = [
        Reload(instance, M, (model(1),), asked=(), starts=instance.starts) for instance in everyone
    ]
    (first,) = decide(owed, ())
    assert first.instance.name == "b"
    owed.remove(first)
    (second,) = decide(owed, ())
    assert second.instance.name == "c"
    assert decide(owed, {M}) == ()
    box.state.set_phase(second.instance, Phase.DRAINING, 0.0)
    (third,) = decide(owed, ())
    assert third.instance.name == "a"
    for lease in leases:
        lease.release()


def test_a_pull_names_those_that_are_to_reload():
    box = Box("a", "b", "c")
    box.hold("a", "c")
    assert list(announced(box.state, M)) == []
    box.store(model(2))
    (record,) = announced(box.state, M)
    assert record["target"] == "a, c"
    assert "reloading, one after another" in record["status"]


def test_weights_that_were_replaced_on_disk_are_not_taken_for_the_new_ones():
    """A request for the new ones waits for their load, though the name is in memory."""
    box = Box("a")
    box.hold()
    (instance,) = box.state.instances.values()
    assert not instance.full(M)
    assert box.state.free(M, ())
    box.store(model(2))
    assert not box.state.free(M, ())
    assert instance.runners.keys() == {model(1).weights}
    box.list_all()
    assert instance.runners.keys() == {model(1).weights}


def test_of_two_in_memory_by_one_name_that_counts_which_the_name_stands_for():
    box = Box("a")
    box.hold()
    (instance,) = box.state.instances.values()
    box.store(model(2))
    for order in ((2, 1), (1, 2)):
        box.ollamas["a"].memory.clear()
        box.ollamas["a"].has(*map(model, order))
        box.list_all()
        assert instance.resident[M].digest == "d2"
        assert {row.digest for row in instance.rows} == {"d1", "d2"}
        assert instance.runners.keys() == {model(1).weights, model(2).weights}
    box.ollamas["a"].memory.pop(model(1).weights)
    box.list_all()
    assert instance.runners.keys() == {model(2).weights}
    box.list_all()
    assert not instance.past, "nobody can ask for those any more"


def test_what_is_loaded_while_its_name_changes_is_known_for_the_old_when_it_is_there():
    """A list does not have it before it is done."""
    box = Box("a")
    (instance,) = box.state.instances.values()
    box.state.on_want.append(lambda _want: None)
    want = Want(instance, Residency(model(1).weights), "m", "/api/generate", ())
    box.state.want(want)
    box.store(model(2))
    box.list_all()
    box.ollamas["a"].has(model(1))
    box.state.loaded(want)
    box.list_all()
    assert [old.digest for old in superseded(instance)[M]] == ["d1"]


def test_who_waits_for_an_instance_that_begins_to_reload_goes_to_another():
    state = fleet("a", "b", slots=1)
    for instance in state.instances.values():
        state.set_resident(instance, [resident("m")])
    a, b = state.instances.values()
    granted = []

    def grant(waiter, instance, _scores):
        granted.append(instance.name)
        return state.lease(instance, waiter.request.key)

    desk = Desk(
        state,
        strategy("round_robin"),
        limit=9,
        rng=random.Random(1),
        grant=grant,
        refuse=lambda *_: None,
        later=lambda go_on: go_on(0.0),
    )
    state.on_change.append(lambda: desk.changed(0.0))
    for number in range(4):
        desk.arrive(Waiter(number, asks()), 0.0)
    assert (sorted(granted), a.bound, b.bound) == (["a", "b"], 1, 1)
    state.set_reloading(a, M, under_way=True)
    assert (a.bound, b.bound) == (0, 2)
    state.set_reloading(b, M, under_way=True)
    assert (a.bound, b.bound, state.waiting) == (0, 0, 2)
    state.set_reloading(a, M, under_way=False)
    assert (a.bound, b.bound) == (2, 0)
