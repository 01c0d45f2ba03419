"""What no model needs is taken out of stores on a real disk, and nothing else."""

import asyncio
import fcntl
import json
import os
import time

import pytest
from fleet_of_stores import state_over
from made_store import blob_file, put_blob, put_model

from ollama_fleet.control.library.pruning import Pruning
from ollama_fleet.control.mutations import Mutations
from ollama_fleet.control.shelves import read_shelves
from ollama_fleet.control.stores.layout import part_path
from ollama_fleet.errors import FleetError
from ollama_fleet.names import RELOADING
from ollama_fleet.state import Pull, ResidentModel, StoredModel

AGE_S = 3600.0
SHA = f"sha256-{'0' * 64}"


async def refresh(_store):
    pass


class Fleet:
    """A fleet over some stores, whose files are looked at an hour later."""

    def __init__(self, *stores, elsewhere=None):
        self.state = state_over(*map(str, stores))
        self.mutations = Mutations(self.state, refresh, elsewhere)
        self.pruning = Pruning(self.state, self.mutations, lambda: time.time() + AGE_S + 1)

    def plan(self, *to):
        return asyncio.run(self.pruning.plan(to, AGE_S))

    async def prune(self, *to):
        plan = await self.pruning.plan(to, AGE_S)
        agreed = {shed.store: shed.files for shed in plan.stores}
        return await self.pruning.carry_out(agreed, AGE_S)

    def pruned(self, *to):
        """The names of what was removed, without those of the folders."""
        done = asyncio.run(self.prune(*to))
        assert not [shed.error for shed in done.stores if shed.error]
        return {name.rpartition("/")[2] for shed in done.stores for name in shed.files}


async def waits_for_its_turn(fleet, store):
    async with asyncio.timeout(20):
        while not fleet.mutations._of(store).news._waiters:
            await asyncio.sleep(0.01)


def leave(store, *names):
    """Files among the blobs, of ten bytes each."""
    for name in names:
        (store / "blobs").mkdir(parents=True, exist_ok=True)
        (store / "blobs" / name).write_bytes(b"x" * 10)


def files(store):
    return {str(path.relative_to(store)) for path in store.rglob("*") if path.is_file()}


def test_what_no_manifest_names_goes_and_all_else_stays(tmp_path):
    put_model(tmp_path, "m/latest", b"weights")
    put_model(tmp_path, f"registry.ollama.ai/{RELOADING}/x/y", b"for a moment")
    stays = files(tmp_path)
    put_blob(tmp_path, b"replaced")
    leave(tmp_path, f"{SHA}-partial", f"{SHA}-partial-0", f"{SHA}-partial-11", "sha256-1234567")
    copy = part_path(tmp_path, put_blob(tmp_path, b"copied"))
    copy.parent.mkdir()
    copy.write_bytes(b"half")
    foreign = {"blobs/README", "blobs/sha256-beef", ".ollama-fleet/lock"}
    for name in foreign:
        (tmp_path / name).write_text("somebody's")
    fleet = Fleet(tmp_path)
    (shed,) = fleet.plan().stores
    assert (shed.blobs, shed.partials, shed.instances) == (2, 3, ("i0",))
    assert len(fleet.pruned()) == 7
    assert files(tmp_path) == stays | foreign


def test_what_is_young_stays_be_it_a_name_that_is_new_or_a_part_of_a_download(tmp_path):
    """A link is as old as its file, but its name is not."""
    put_blob(tmp_path, b"upload")
    leave(tmp_path, f"{SHA}-partial", f"{SHA}-partial-0")
    young = Pruning(state_over(str(tmp_path)), Fleet(tmp_path).mutations, time.time)
    (shed,) = asyncio.run(young.plan((), AGE_S)).stores
    assert shed.files == ()


def test_weights_that_an_instance_has_in_memory_stay_until_it_has_others(tmp_path):
    digest = put_blob(tmp_path, b"old weights")
    put_model(tmp_path, "m/latest", b"new weights")
    fleet = Fleet(tmp_path)
    (instance,) = fleet.state.instances.values()
    old, new = (
        StoredModel("m", "m", name, 1, {}, blob=blob)
        for name, blob in (("d-old", digest), ("d-new", f"sha256:{'9' * 64}"))
    )
    fleet.state.set_stored(instance, [old])
    fleet.state.set_resident(instance, [ResidentModel("m", "m", 1, 1, "", {"digest": "d-old"})])
    fleet.state.set_stored(instance, [new])
    (shed,) = fleet.plan().stores
    assert (shed.files, shed.waiting_bytes) == ((), len(b"old weights"))
    assert fleet.pruned() == set()
    fleet.state.set_resident(instance, [])
    assert fleet.pruned() == {blob_file(tmp_path, b"old weights").name}


def test_what_an_instance_of_somebody_elses_runs_stays_for_its_store_may_be_this_one(tmp_path):
    digest = put_blob(tmp_path, b"run elsewhere")
    fleet = Fleet(tmp_path, "http://localhost:11434")
    other = fleet.state.instances["i1"]
    fleet.state.set_stored(other, [StoredModel("m", "m", "d", 1, {}, blob=digest)])
    fleet.state.set_resident(other, [ResidentModel("m", "m", 1, 1, "", {"digest": "d"})])
    assert fleet.pruned() == set()


def test_links_in_two_stores_go_together_and_their_bytes_count_once(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    put_blob(one, b"replaced")
    (two / "blobs").mkdir(parents=True)
    blob_file(two, b"replaced").hardlink_to(blob_file(one, b"replaced"))
    fleet = Fleet(one, two)
    assert fleet.plan(str(one)).freed_bytes == 0
    done = asyncio.run(fleet.prune())
    assert [shed.size_bytes for shed in done.stores] == [8, 8]
    assert done.freed_bytes == 8
    assert not files(one) | files(two)


def test_what_was_not_agreed_to_stays_and_so_does_what_was_named_meanwhile(tmp_path):
    agreed = blob_file(tmp_path, b"agreed").name, blob_file(tmp_path, b"named").name
    for content in (b"agreed", b"named", b"came later"):
        put_blob(tmp_path, content)
    fleet = Fleet(tmp_path)
    put_model(tmp_path, "m/latest", b"named")
    store = str(tmp_path)
    done = asyncio.run(fleet.pruning.carry_out({store: [f"blobs/{n}" for n in agreed]}, AGE_S))
    assert done.stores[0].files == (f"blobs/{agreed[0]}",)
    assert blob_file(tmp_path, b"came later").exists()


def test_nothing_goes_where_a_manifest_cannot_be_read(tmp_path):
    put_blob(tmp_path, b"whose?")
    put_model(tmp_path, "m/latest", b"weights").write_text("{")
    fleet = Fleet(tmp_path)
    (shed,) = fleet.plan().stores
    assert "not a manifest" in shed.problem
    assert fleet.pruned() == set()


def test_a_store_is_left_alone_while_a_download_into_it_runs(tmp_path):
    leave(tmp_path, f"{SHA}-partial")
    fleet = Fleet(tmp_path)
    fleet.state.pulls["m"] = Pull("m", "i0", "pulling", 0, 0)
    (shed,) = fleet.plan().stores
    assert "is being downloaded" in shed.problem
    (shed,) = asyncio.run(fleet.prune()).stores
    assert "is being downloaded" in shed.error
    assert files(tmp_path) == {f"blobs/{SHA}-partial"}


def test_another_fleets_download_keeps_it_alone_too(tmp_path):
    store, locks = tmp_path / "store", tmp_path / "locks"
    leave(store, f"{SHA}-partial")
    fleet, other = Fleet(store, elsewhere=locks), Fleet(store, elsewhere=locks)

    async def both():
        async with other.mutations.pulling(str(store)):
            return await fleet.prune()

    (shed,) = asyncio.run(both()).stores
    assert "is being downloaded" in shed.error
    assert fleet.pruned() == {f"{SHA}-partial"}


def test_a_create_ends_before_anything_goes_and_what_it_has_named_stays(tmp_path):
    """Its blobs have no name before its end, and may be old: a client uploads a blob only once."""
    put_blob(tmp_path, b"uploaded long ago")
    fleet, store = Fleet(tmp_path), str(tmp_path)

    async def both():
        async with fleet.mutations.adding(store):
            pruning = asyncio.create_task(fleet.prune())
            await waits_for_its_turn(fleet, store)
            put_model(tmp_path, "made/latest", b"uploaded long ago")
        return await pruning

    (shed,) = asyncio.run(both()).stores
    assert shed.files == ()
    assert blob_file(tmp_path, b"uploaded long ago").exists()


def test_a_copy_that_somebody_makes_stays(tmp_path):
    """He may be reading what there is of it, for as long as that takes."""
    copy = part_path(tmp_path, f"sha256:{'0' * 64}")
    copy.parent.mkdir()
    copy.write_bytes(b"half")
    fleet = Fleet(tmp_path)
    with copy.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert fleet.pruned() == set()
    assert fleet.pruned() == {copy.name}


def test_a_download_that_goes_on_between_the_plan_and_the_turn_stays_whole(tmp_path):
    names = f"{SHA}-partial", f"{SHA}-partial-0", f"{SHA}-partial-1"
    leave(tmp_path, *names)
    fleet = Fleet(tmp_path)

    async def resumed():
        async with fleet.mutations.adding(str(tmp_path)):
            pruning = asyncio.create_task(fleet.prune())
            await waits_for_its_turn(fleet, str(tmp_path))
            (tmp_path / "blobs" / names[1]).write_text(json.dumps({"N": 0}))
        return await pruning

    (shed,) = asyncio.run(resumed()).stores
    assert shed.files == ()
    assert len(files(tmp_path)) == 3


def test_a_store_may_be_named_by_its_folder_an_instance_or_a_group_but_be_nobody_elses(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    fleet = Fleet(one, two, "http://far:11434")
    assert [shed.store for shed in fleet.plan().stores] == [str(one), str(two)]
    assert [shed.store for shed in fleet.plan(str(two)).stores] == [str(two)]
    assert [shed.store for shed in fleet.plan("i0").stores] == [str(one)]
    assert [shed.store for shed in fleet.plan("g").stores] == [str(one), str(two)]
    with pytest.raises(FleetError, match="i2 is somebody else's"):
        fleet.plan("i2")
    with pytest.raises(FleetError, match="no instance or group"):
        fleet.plan("/no/store/of/ours")


def test_what_could_be_pruned_is_told_from_a_gigabyte_on(tmp_path):
    """Whole files, however much of them a disk keeps."""
    now_s = time.time() + AGE_S + 1
    put_blob(tmp_path, b"large")
    os.truncate(blob_file(tmp_path, b"large"), 10**9 - 1)
    assert read_shelves([str(tmp_path)], now_s).shelves[0].prunable_bytes == 0
    put_blob(tmp_path, b"b")
    assert read_shelves([str(tmp_path)], now_s).shelves[0].prunable_bytes == 10**9
    assert read_shelves([str(tmp_path)], time.time()).shelves[0].prunable_bytes == 0
