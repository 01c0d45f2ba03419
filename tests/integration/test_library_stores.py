"""One pull for several stores: real files, a scripted registry, no wait that is not for work."""

import asyncio
import hashlib
import os
import shutil
import sys
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest
from made_store import blob_file, put_blob, put_model

from ollama_fleet.control.library import Library, threaded
from ollama_fleet.control.library.patience import Patience
from ollama_fleet.control.mutations import Mutations
from ollama_fleet.control.stores import Claims, Disk, read_store, set_aside
from ollama_fleet.errors import OllamaError
from ollama_fleet.placement import InstanceSpec, Placement
from ollama_fleet.state import Phase, State, StoredModel

KEY = "registry.ollama.ai/library/m:latest"
WEIGHTS = b"w" * 100_000
SHM = Path("/dev/shm")


class Box:
    """Some instances, and a registry that has one model; what they are asked for is noted."""

    def __init__(self, specs, routes=None):
        self.state = State(Placement(tuple(specs), routes or {}))
        for instance in self.state.instances.values():
            self.state.set_phase(instance, Phase.READY, 0.0)
        self.asked, self.slept, self.offered, self.fetched = [], [], [], []
        self.errors, self.listed = {}, ()
        self.content, self.manifest, self.fails_from = WEIGHTS, "", sys.maxsize
        self.mutations = Mutations(self.state, self.refresh)
        self.library = Library(
            self.state,
            lambda instance: Instance(self, instance),
            self.mutations,
            offer=self.offer,
            patience=Patience(tries=3, pause_s=0.5, sleep=self.sleep),
        )

    async def sleep(self, seconds):
        self.slept.append(seconds)

    @asynccontextmanager
    async def offer(self, model, _store, url):
        self.offered.append((model.name, url))
        yield "fleet:1/token/m:latest"

    async def refresh(self, store):
        for instance in self.state.instances.values():
            if instance.spec.store == store and not instance.spec.external:
                found = read_store(Path(store)).models
                rows = [StoredModel(m.key, m.name, m.digest, m.size_bytes, {}) for m in found]
                self.state.set_stored(instance, rows)

    def pull(self, **more):
        async def run():
            return [record async for record in self.library.pull("m", **more)]

        return asyncio.run(asyncio.wait_for(run(), 20))


class Instance:
    """An instance's API: a pull puts the model into its store, or is an error."""

    def __init__(self, box, instance):
        self.box, self.instance = box, instance

    async def pull(self, name, *, insecure=False):
        self.box.asked.append(("pull", self.instance.name, name, insecure))
        yield {"status": "pulling manifest"}
        yield {"status": "pulling abc", "digest": "sha256:abc", "total": 10}
        error = self.box.errors.get(self.instance.name)
        if len(self.box.asked) >= self.box.fails_from:
            error = "connection reset"
        if error:
            raise OllamaError(error, 500)
        if self.instance.spec.external:
            self.put(name)
        else:
            self.fetch(Path(self.instance.spec.store))
        yield {"status": "success"}

    def fetch(self, store):
        """As Ollama does: a blob that is there is kept, whatever is in it."""
        there = {path: path.read_bytes() for path in store.glob("blobs/*")}
        manifest = put_model(store, "m/latest", self.box.content)
        manifest.write_text(self.box.manifest or manifest.read_text())
        for path, content in there.items():
            path.write_bytes(content)
        self.box.fetched += [path for path in store.glob("blobs/*") if path not in there]

    async def copy(self, source, target, **_):
        self.box.asked.append(("copy", self.instance.name, source, target))
        self.put(target)

    async def tags(self, **_):
        return self.box.listed

    async def delete(self, name, **_):
        self.box.asked.append(("delete", self.instance.name, name))

    def put(self, name):
        digest = next(m for m in read_store(self.box.first).models if m.key == KEY).digest
        row = StoredModel(KEY, name, digest, 1, {})
        self.box.state.set_stored(self.instance, [row])


def box(*stores, remote=False, routes=None):
    specs = [
        InstanceSpec(f"i{n}", "g", "127.0.0.1", 1, 1, str(store)) for n, store in enumerate(stores)
    ]
    if remote:
        url = "http://10.0.0.9:11434"
        specs.append(InstanceSpec("far", "far", "", 0, 1, url, external=True, url=url))
    made = Box(specs, routes)
    made.first = Path(stores[0])
    return made


def test_one_download_and_every_store_of_the_disk_has_the_very_same_files(tmp_path):
    fleet = box(tmp_path / "a", tmp_path / "b", tmp_path / "c")
    records = fleet.pull()
    assert fleet.asked == [("pull", "i0", "m", False)]
    assert records[-1] == {"status": "success"}
    inodes = {blob_file(tmp_path / s, WEIGHTS).stat().st_ino for s in "abc"}
    assert len(inodes) == 1
    digests = {read_store(tmp_path / s).model(KEY).digest for s in "abc"}
    assert len(digests) == 1
    assert all(KEY in i.stored for i in fleet.state.instances.values())
    assert not fleet.state.pulls


@pytest.mark.skipif(not SHM.is_dir(), reason="needs a second file system: /dev/shm")
def test_a_store_on_another_disk_gets_a_copy_and_its_bytes_are_told(tmp_path):
    far = SHM / f"fleet-{os.getpid()}-{tmp_path.name}"
    try:
        fleet = box(tmp_path / "a", far)
        records = fleet.pull()
        assert blob_file(far, WEIGHTS).read_bytes() == WEIGHTS
        told = [r for r in records if r.get("target") == "i1" and r.get("total") == len(WEIGHTS)]
        assert told[-1]["completed"] == len(WEIGHTS)
    finally:
        shutil.rmtree(far, ignore_errors=True)


@pytest.mark.skipif(not SHM.is_dir(), reason="needs a second file system: /dev/shm")
@pytest.mark.parametrize("broken", [False, True])
def test_stores_on_another_disk_share_one_copy(tmp_path, broken):
    """Also where it cannot be made in the first of them."""
    far = SHM / f"fleet-{os.getpid()}-{tmp_path.name}"
    far.mkdir()
    try:
        fleet = box(tmp_path / "a", *(far / name for name in "bcd"))
        if broken:
            (far / "b").write_text("no folder")
            with pytest.raises(OllamaError, match=r"^i1: "):
                fleet.pull()
        else:
            fleet.pull()
        having = "cd" if broken else "bcd"
        assert all(read_store(far / name).model(KEY) for name in having)
        assert len({blob_file(far / name, WEIGHTS).stat().st_ino for name in having}) == 1
    finally:
        shutil.rmtree(far, ignore_errors=True)


@pytest.mark.skipif(not SHM.is_dir(), reason="needs a second file system: /dev/shm")
def test_a_sync_copies_to_another_disk_what_its_plan_counts_and_links_the_rest(tmp_path):
    """Two names of the same blobs, in two stores there."""
    far = SHM / f"fleet-{os.getpid()}-{tmp_path.name}"
    far.mkdir()
    try:
        fleet = box(tmp_path / "a", far / "b", far / "c")
        for name in "mn":
            put_model(tmp_path / "a", f"{name}/latest", WEIGHTS)
        plan, records = synced(fleet, ["m", "n"])
        assert [step.how for step in plan.steps] == ["copy", "link", "link", "link"]
        assert not [record for record in records if "error" in record]
        for name in "bc":
            assert {model.name for model in read_store(far / name).models} == {
                "m:latest",
                "n:latest",
            }
        assert len({blob_file(far / name, WEIGHTS).stat().st_ino for name in "bc"}) == 1
        copies = {r["target"] for r in records if r.get("status", "").startswith("copying")}
        assert len(copies) == 1
    finally:
        shutil.rmtree(far, ignore_errors=True)


@pytest.mark.skipif(not SHM.is_dir(), reason="needs a second file system: /dev/shm")
def test_a_copy_for_which_others_have_left_no_room_is_not_begun(tmp_path):
    far = SHM / f"fleet-{os.getpid()}-{tmp_path.name}"
    try:
        fleet = box(tmp_path / "a", far)
        fleet.library._spread._claims = Claims(margin_bytes=2**62)
        with pytest.raises(OllamaError, match=r"^i1: the disk of .* has .* left"):
            fleet.pull()
        assert not far.exists()
        assert fleet.slept == [], "a disk does not grow while one waits"
    finally:
        shutil.rmtree(far, ignore_errors=True)


def test_only_those_who_are_named_get_it(tmp_path):
    fleet = box(tmp_path / "a", tmp_path / "b", tmp_path / "c")
    fleet.pull(to=["i1", "i2"])
    assert fleet.asked == [("pull", "i1", "m", False)]
    assert not (tmp_path / "a").exists()
    assert read_store(tmp_path / "c").model(KEY)


def test_a_model_that_only_some_may_serve_is_for_their_stores(tmp_path):
    """A pull that names nobody, and a sync, bring it nowhere else; one that does, does."""
    fleet = box(
        tmp_path / "a", tmp_path / "b", tmp_path / "c", routes={KEY: frozenset({"i1", "i2"})}
    )
    fleet.pull()
    assert fleet.asked == [("pull", "i1", "m", False)]
    assert not (tmp_path / "a").exists()
    assert read_store(tmp_path / "c").model(KEY)
    assert not synced(fleet, ["m"])[0].steps
    fleet.pull(to=["i0"])
    assert read_store(tmp_path / "a").model(KEY)


def test_a_new_version_replaces_the_old_one_everywhere(tmp_path):
    fleet = box(tmp_path / "a", tmp_path / "b")
    fleet.pull()
    fleet.content = b"new" * 1000
    fleet.pull()
    assert blob_file(tmp_path / "b", b"new" * 1000).exists()
    assert len({read_store(tmp_path / s).model(KEY).digest for s in "ab"}) == 1


def test_where_the_first_disk_is_full_another_downloads_and_the_first_is_named(tmp_path):
    fleet = box(tmp_path / "a", tmp_path / "b", tmp_path / "c")
    fleet.errors["i0"] = "write /a/blobs/x: no space left on device"
    with pytest.raises(OllamaError, match=r"^i0: .*no space left on device"):
        fleet.pull()
    assert [name for _, name, *_ in fleet.asked] == ["i0", "i1"]
    assert read_store(tmp_path / "c").model(KEY), "the others have it all the same"


def test_a_layer_too_large_for_the_first_disk_is_downloaded_to_another(tmp_path):
    fleet = box(tmp_path / "a", tmp_path / "b")

    async def disk_of(store):
        return Disk(1, 0) if store == str(tmp_path / "a") else Disk(2, 2**40)

    fleet.library._downloads._disk_of = disk_of
    with pytest.raises(OllamaError, match=r"^i0: the disk of .*/a has 0 B"):
        fleet.pull()
    assert read_store(tmp_path / "b").model(KEY)


def test_what_the_registry_refuses_is_asked_for_nowhere_else(tmp_path):
    fleet = box(tmp_path / "a", tmp_path / "b")
    fleet.errors["i0"] = "pull model manifest: file does not exist"
    with pytest.raises(OllamaError, match="file does not exist"):
        fleet.pull()
    assert len(fleet.asked) == 1


def test_a_store_that_cannot_be_written_is_tried_again_named_and_keeps_nobody_from_it(tmp_path):
    fleet = box(tmp_path / "a", tmp_path / "b", tmp_path / "c")
    (tmp_path / "b").write_text("a file where a folder should be")
    with pytest.raises(OllamaError, match=r"^i1: "):
        fleet.pull()
    assert fleet.slept == [0.5, 1.0]
    assert read_store(tmp_path / "c").model(KEY)


def test_an_instance_elsewhere_pulls_from_the_fleet_and_ends_with_the_right_name_only(tmp_path):
    fleet = box(tmp_path / "a", remote=True)
    fleet.pull()
    assert fleet.offered == [("m:latest", "http://10.0.0.9:11434")]
    assert fleet.asked == [
        ("pull", "i0", "m", False),
        ("pull", "far", "fleet:1/token/m:latest", True),
        ("copy", "far", "fleet:1/token/m:latest", "m:latest"),
        ("delete", "far", "fleet:1/token/m:latest"),
    ]
    assert fleet.state.instances["far"].stored[KEY].name == "m:latest"


def test_an_instance_elsewhere_that_has_it_is_left_alone(tmp_path):
    fleet = box(tmp_path / "a", remote=True)
    fleet.pull()
    del fleet.asked[:]
    fleet.pull()
    assert fleet.asked == [("pull", "i0", "m", False)]


def test_the_name_of_a_pull_that_failed_is_taken_away_too(tmp_path):
    fleet = box(tmp_path / "a", remote=True)
    fleet.errors["far"] = "unexpected EOF"
    with pytest.raises(OllamaError, match=r"^far: unexpected EOF"):
        fleet.pull()
    assert fleet.asked[-1] == ("delete", "far", "fleet:1/token/m:latest")


def test_instances_elsewhere_alone_each_download_for_themselves(tmp_path):
    url = "http://10.0.0.{}:1"
    specs = [
        InstanceSpec(n, n, "", 0, 1, url.format(n), external=True, url=url.format(n)) for n in "12"
    ]
    fleet = Box(specs)
    fleet.first = tmp_path
    put_model(tmp_path, "m/latest", WEIGHTS)
    fleet.pull()
    assert [(what, who, name) for what, who, name, *_ in fleet.asked] == [
        ("pull", "1", "m"),
        ("pull", "2", "m"),
    ]
    assert not fleet.offered


def test_who_asks_for_more_places_while_it_runs_joins_the_one_download(tmp_path):
    fleet = box(tmp_path / "a", tmp_path / "b")

    async def run():
        async def all_of(**more):
            return [record async for record in fleet.library.pull("m", **more)]

        one, two = await asyncio.gather(all_of(to=["i0"]), all_of())
        assert one[-1] == two[-1] == {"status": "success"}

    asyncio.run(asyncio.wait_for(run(), 20))
    assert len(fleet.asked) == 1
    assert read_store(tmp_path / "b").model(KEY)


def test_a_failure_elsewhere_is_no_failure_for_who_did_not_ask_for_that_place(tmp_path):
    fleet = box(tmp_path / "a", tmp_path / "b")
    (tmp_path / "b").write_text("a file where a folder should be")

    async def run():
        async def end_of(**more):
            return [record async for record in fleet.library.pull("m", **more)][-1]

        return await asyncio.gather(end_of(to=["i0"]), end_of(), return_exceptions=True)

    one, other = asyncio.run(asyncio.wait_for(run(), 20))
    assert one == {"status": "success"}
    assert isinstance(other, OllamaError)


def test_a_pull_that_comes_while_the_model_is_brought_from_a_store_asks_the_registry_too(tmp_path):
    """Whether there is a later one, over the way that it was told to."""
    fleet = box(tmp_path / "a", tmp_path / "b")
    put_model(tmp_path / "b", "m/latest", WEIGHTS)
    fleet.content = b"later" * 1000

    async def all_of(records):
        return [record async for record in records]

    async def run():
        asked = asyncio.Event()
        bring = fleet.library._spread.bring

        async def slowly(*transfer):
            asked.set()
            await pulled.wait()
            await bring(*transfer)

        fleet.library._spread.bring = slowly
        pulled = asyncio.Event()
        shared = asyncio.create_task(
            all_of(fleet.library.share("m", str(tmp_path / "b"), [str(tmp_path / "a")]))
        )
        await asked.wait()
        pulling = asyncio.create_task(
            all_of(fleet.library.pull("http://registry.ollama.ai/library/m", True))
        )
        await asyncio.sleep(0)
        pulled.set()
        await asyncio.gather(shared, pulling)

    asyncio.run(asyncio.wait_for(run(), 20))
    assert [(name, insecure) for _, _, name, insecure in fleet.asked] == [
        ("http://registry.ollama.ai/library/m", True)
    ]
    assert all(blob_file(tmp_path / s, fleet.content).exists() for s in "ab")
    assert len({read_store(tmp_path / s).model(KEY).digest for s in "ab"}) == 1


# -- damage --------------------------------------------------------------------------------------


def test_a_blob_of_the_wrong_size_which_an_ollama_keeps_is_fetched_again(tmp_path):
    fleet = box(tmp_path / "a")
    fleet.pull()
    cut = blob_file(tmp_path / "a", WEIGHTS)
    cut.write_bytes(WEIGHTS[:-1])
    fleet.pull()
    assert [what for what, *_ in fleet.asked] == ["pull"] * 3, "once more, for what was kept"
    assert cut.read_bytes() == WEIGHTS
    assert read_store(tmp_path / "a").damage() == ()
    assert not list(tmp_path.rglob("*.damaged"))


@pytest.mark.parametrize("to", [(), ("i0",)])
def test_what_another_store_has_whole_mends_a_damaged_one_and_is_not_downloaded(tmp_path, to):
    fleet = box(tmp_path / "a", tmp_path / "b")
    fleet.pull()
    cut = blob_file(tmp_path / "a", WEIGHTS)
    cut.unlink()
    cut.write_bytes(WEIGHTS[:-1])
    del fleet.asked[:], fleet.fetched[:]
    fleet.pull(to=to)
    assert [who for _, who, *_ in fleet.asked] == ["i0" if to else "i1"], "whether it is the latest"
    assert fleet.fetched == []
    assert cut.samefile(blob_file(tmp_path / "b", WEIGHTS))
    assert [read_store(tmp_path / s).damage() for s in "ab"] == [(), ()]


def test_what_is_damaged_stays_as_it_is_where_nothing_can_be_had_for_it(tmp_path):
    """Part of a model is more than nothing of it; that the pull failed is said."""
    fleet = box(tmp_path / "a")
    fleet.pull()
    cut = blob_file(tmp_path / "a", WEIGHTS)
    cut.write_bytes(WEIGHTS[:-1])
    fleet.fails_from = 3
    with pytest.raises(OllamaError, match="connection reset"):
        fleet.pull()
    assert cut.read_bytes() == WEIGHTS[:-1]


def test_a_model_that_is_damaged_in_its_registry_is_an_error_and_asked_for_no_third_time(tmp_path):
    fleet = box(tmp_path / "a")
    manifest = put_model(tmp_path / "a", "m/latest", WEIGHTS)
    fleet.manifest = manifest.read_text().replace(str(len(WEIGHTS)), "7")
    with pytest.raises(OllamaError, match="damaged where it comes from"):
        fleet.pull()
    assert len(fleet.asked) == 2


NO_MODELS = {
    "index": '{"schemaVersion": 2, "manifests": []}',
    "empty": "{}",
    "null": "null",
    "nothing": '{"layers": [], "config": {"digest": "", "size": 0}}',
    "negative": '{"layers": [], "config": {"digest": "sha256:%s", "size": -1}}' % ("a" * 64),
}


@pytest.mark.parametrize("manifest", NO_MODELS.values(), ids=NO_MODELS)
@pytest.mark.parametrize("before", [None, WEIGHTS], ids=["new", "known"])
def test_what_a_registry_has_that_is_no_model_is_brought_nowhere_and_not_kept(
    tmp_path, manifest, before
):
    """An Ollama lists whatever it got; the name is of what it was before, or gone."""
    fleet = box(tmp_path / "a", tmp_path / "b")
    if before:
        fleet.pull()
    fleet.manifest = manifest
    with pytest.raises(OllamaError, match="is no model"):
        fleet.pull()
    for store in (tmp_path / "a", tmp_path / "b"):
        model = read_store(store).model(KEY)
        assert bool(model) == bool(before)
        assert model is None or not read_store(store).lacking(model.layers)
        assert not read_store(store).unreadable
    assert (KEY in fleet.state.instances["i0"].stored) == bool(before)


def test_sizes_that_no_blob_has_are_not_kept_either(tmp_path):
    fleet = box(tmp_path / "a")
    fleet.pull()
    whole = read_store(tmp_path / "a").model(KEY)
    fleet.manifest = whole.content.decode().replace(str(len(WEIGHTS)), "7")
    with pytest.raises(OllamaError, match="damaged where it comes from"):
        fleet.pull()
    assert read_store(tmp_path / "a").model(KEY) == whole
    assert read_store(tmp_path / "a").damage() == ()


# -- lent by other stores ------------------------------------------------------------------------


@pytest.mark.parametrize("far", [False, True])
def test_who_alone_is_to_have_it_downloads_nothing_that_another_store_has(tmp_path, far):
    """Also from another disk."""
    if far and not SHM.is_dir():
        pytest.skip("needs a second file system: /dev/shm")
    store = SHM / f"fleet-{os.getpid()}-{tmp_path.name}" if far else tmp_path / "a"
    try:
        fleet = box(store, tmp_path / "b")
        put_model(tmp_path / "b", "m/latest", WEIGHTS)
        records = fleet.pull(to=["i0"])
        assert fleet.asked == [("pull", "i0", "m", False)]
        assert fleet.fetched == []
        assert read_store(store).model(KEY)
        assert f"{'copying' if far else 'linking'} to i0" in [r["status"] for r in records]
    finally:
        if far:
            shutil.rmtree(store, ignore_errors=True)


def test_what_was_lent_and_is_no_longer_in_the_registrys_model_is_taken_back(tmp_path):
    fleet = box(tmp_path / "a", tmp_path / "b")
    put_model(tmp_path / "b", "m/latest", WEIGHTS, b"a layer that stays")
    fleet.content = b"new" * 1000
    fleet.pull(to=["i0"])
    assert {path.name for path in (tmp_path / "a" / "blobs").iterdir()} == {
        layer.digest.replace(":", "-") for layer in read_store(tmp_path / "a").model(KEY).layers
    }
    assert blob_file(tmp_path / "b", WEIGHTS).exists()


def test_what_is_lent_is_what_its_name_says_or_it_is_downloaded(tmp_path):
    fleet = box(tmp_path / "a", tmp_path / "b")
    put_model(tmp_path / "b", "m/latest", WEIGHTS)
    spoil(tmp_path / "b")
    fleet.pull(to=["i0"])
    assert fleet.fetched == [blob_file(tmp_path / "a", WEIGHTS)]
    assert blob_file(tmp_path / "a", WEIGHTS).read_bytes() == WEIGHTS


def test_an_older_model_is_not_lent_to_who_has_a_later_one(tmp_path):
    fleet = box(tmp_path / "a", tmp_path / "b")
    put_model(tmp_path / "a", "m/latest", WEIGHTS)
    os.utime(put_model(tmp_path / "b", "m/latest", b"old" * 1000), (1, 1))
    records = fleet.pull(to=["i0"])
    assert not [record for record in records if "target" in record]


def test_where_nobody_is_up_somebody_else_downloads_it(tmp_path):
    fleet = box(tmp_path / "a", tmp_path / "b")
    fleet.state.set_phase(fleet.state.instances["i0"], Phase.STARTING, 0.0)
    fleet.pull()
    assert [who for _, who, *_ in fleet.asked] == ["i1"]
    assert read_store(tmp_path / "a").model(KEY)


# -- syncs ---------------------------------------------------------------------------------------


def synced(fleet, models, **how):
    async def run():
        await_refresh = [fleet.refresh(i.spec.store) for i in fleet.state.instances.values()]
        await asyncio.gather(*await_refresh)
        plan = await fleet.library.syncs.plan(models, **how)
        return plan, [record async for record in fleet.library.syncs.sync(plan)]

    return asyncio.run(asyncio.wait_for(run(), 20))


def test_a_sync_brings_what_one_store_has_to_the_others_and_asks_no_registry(tmp_path):
    fleet = box(tmp_path / "a", tmp_path / "b", tmp_path / "c")
    put_model(tmp_path / "b", "m/latest", WEIGHTS)
    plan, records = synced(fleet, ["m"])
    assert not plan.problems
    assert fleet.asked == []
    assert records[-1] == {"model": "m", "status": "success"}
    assert len({read_store(tmp_path / s).model(KEY).digest for s in "abc"}) == 1
    assert synced(fleet, ["m"])[0].steps == ()


def test_what_nobody_has_is_downloaded_once(tmp_path):
    fleet = box(tmp_path / "a", tmp_path / "b", tmp_path / "c")
    synced(fleet, ["m"])
    assert fleet.asked == [("pull", "i0", "m", False)]
    assert read_store(tmp_path / "c").model(KEY)


def test_the_origins_version_wins_though_it_is_older(tmp_path):
    fleet = box(tmp_path / "a", tmp_path / "b")
    old = put_model(tmp_path / "a", "m/latest", WEIGHTS)
    os.utime(old, (1, 1))
    put_model(tmp_path / "b", "m/latest", b"newer" * 100)
    plan, _ = synced(fleet, ["m"], origin="i0")
    assert plan.conflicts
    assert (
        read_store(tmp_path / "b").model(KEY).digest == read_store(tmp_path / "a").model(KEY).digest
    )


def test_a_model_that_cannot_be_had_keeps_no_other_from_being_brought(tmp_path):
    fleet = box(tmp_path / "a", tmp_path / "b")
    put_model(tmp_path / "a", "n/latest", WEIGHTS)
    fleet.errors["i0"] = "pull model manifest: file does not exist"
    _, records = synced(fleet, ["m", "n"])
    assert {
        r["model"]: "error" in r for r in records if r.get("error") or r["status"] == "success"
    } == {
        "m": True,
        "n": False,
    }


def test_pruned_is_what_the_plan_says_through_the_instance_that_changes_the_store(tmp_path):
    fleet = box(tmp_path / "a", tmp_path / "b")
    put_model(tmp_path / "a", "m/latest", WEIGHTS)
    put_model(tmp_path / "b", "old/latest", b"old")
    plan, records = synced(fleet, ["m"], prune=True)
    assert plan.removals == {str(tmp_path / "b"): ("old:latest",)}
    assert fleet.asked == [("delete", "i1", "old:latest")]
    assert records[-1] == {"model": "old:latest", "target": "i1", "status": "removed from i1"}


def test_a_name_that_a_killed_fleet_has_left_elsewhere_is_taken_away_by_the_next_pull(tmp_path):
    fleet = box(tmp_path / "a", remote=True)
    name = f"10.0.0.1:4000/{'ab' * 32}/m:latest"
    fleet.listed = (StoredModel(name, name, "d", 1, {}),)
    fleet.pull()
    assert ("delete", "far", name) in fleet.asked


def test_a_fleet_that_stops_begins_no_more_pulls(tmp_path):
    fleet = box(tmp_path / "a")
    asyncio.run(fleet.library.close())
    with pytest.raises(OllamaError, match="stopping"):
        fleet.pull()
    assert fleet.asked == []


# -- verified ------------------------------------------------------------------------------------


def verified(fleet, models):
    async def run():
        return [record async for record in fleet.library.syncs.verify(models)]

    return asyncio.run(asyncio.wait_for(run(), 20))


def spoil(store):
    """Change one byte of a blob, in a file of its own."""
    blob = blob_file(store, WEIGHTS)
    blob.unlink()
    blob.write_bytes(b"W" + WEIGHTS[1:])
    return blob


def test_a_blob_whose_content_has_changed_is_found_and_replaced_by_a_whole_one(tmp_path):
    fleet = box(tmp_path / "a", tmp_path / "b")
    put_model(tmp_path / "a", "m/latest", WEIGHTS)
    synced(fleet, ["m"])
    blob = spoil(tmp_path / "b")
    assert synced(fleet, ["m"])[0].steps == (), "its size tells nothing"
    *_, last = verified(fleet, ["m"])
    digest = f"sha256:{hashlib.sha256(WEIGHTS).hexdigest()}"
    assert (last["damaged"], last["errors"]) == ({str(tmp_path / "b"): [digest]}, [])
    plan, records = synced(fleet, ["m"], damaged=last["damaged"])
    assert [(step.target, step.how) for step in plan.steps] == [(str(tmp_path / "b"), "link")]
    assert records[-1] == {"model": "m", "status": "success"}
    assert blob.read_bytes() == WEIGHTS
    assert fleet.asked == []
    assert not list(tmp_path.rglob("*.damaged"))


def test_a_verification_tells_of_a_large_blob_while_it_hashes_it(tmp_path, monkeypatch):
    """And of which model it is."""
    monkeypatch.setattr(threaded, "_TELL_S", 0.0)
    content = b"w" * (3 * 2**20)
    fleet = box(tmp_path / "a")
    put_model(tmp_path / "a", "m/latest", content)
    bars = [r for r in verified(fleet, ["m"]) if r.get("total") == len(content)]
    assert [bar["completed"] for bar in bars] == [0, 2**20, 2 * 2**20, *[3 * 2**20] * 2]
    assert {(bar["model"], bar["target"]) for bar in bars} == {("m:latest", "i0")}


def test_a_verification_that_is_left_stops_and_one_that_cannot_read_says_so(tmp_path):
    fleet = box(tmp_path / "a")
    put_model(tmp_path / "a", "m/latest", WEIGHTS)

    async def left():
        async with aclosing(fleet.library.syncs.verify(["m"])) as records:
            return [await anext(records), await anext(records)]

    assert asyncio.run(asyncio.wait_for(left(), 20))
    path = blob_file(tmp_path / "a", WEIGHTS)
    path.unlink()
    path.symlink_to(tmp_path / "b" / "away")
    assert verified(fleet, ["m"])[-1]["damaged"] == {}, "it is missing, which the plan sees"


def test_what_is_damaged_everywhere_is_downloaded_once_more(tmp_path):
    fleet = box(tmp_path / "a", tmp_path / "b")
    put_model(tmp_path / "a", "m/latest", WEIGHTS)
    spoil(tmp_path / "a")
    synced(fleet, ["m"])
    *bars, last = verified(fleet, ["m"])
    assert sorted(last["damaged"]) == [str(tmp_path / "a"), str(tmp_path / "b")]
    assert {(bar["target"], bar["model"]) for bar in bars} == {
        ("i0", "m:latest"),
        ("i1", "m:latest"),
    }
    synced(fleet, ["m"], damaged=last["damaged"])
    assert [what for what, *_ in fleet.asked] == ["pull"]
    assert verified(fleet, ["m"])[-1]["damaged"] == {}


def test_damage_that_nothing_can_be_had_for_is_put_back_and_the_model_named(tmp_path):
    fleet = box(tmp_path / "a")
    put_model(tmp_path / "a", "m/latest", WEIGHTS)
    blob = spoil(tmp_path / "a")
    fleet.errors["i0"] = "pull model manifest: file does not exist"
    damaged = verified(fleet, ["m"])[-1]["damaged"]
    _, records = synced(fleet, ["m"], damaged=damaged)
    assert "file does not exist" in records[-1]["error"]
    assert blob.exists(), "it may run, and is all there is"


def test_what_a_killed_fleet_has_set_aside_comes_back_with_the_next_sync(tmp_path):
    """Not so what is held: another fleet, or another pull of this one, fetches it just now."""
    fleet = box(tmp_path / "a")
    put_model(tmp_path / "a", "m/latest", WEIGHTS)
    left, held = (put_blob(tmp_path / "a", content) for content in (b"left", b"held"))
    for descriptor in set_aside(tmp_path / "a", [left]):
        os.close(descriptor)
    (descriptor,) = set_aside(tmp_path / "a", [held, f"sha256:{'a' * 64}"])
    synced(fleet, ["m"])
    assert blob_file(tmp_path / "a", b"left").read_bytes() == b"left"
    assert not blob_file(tmp_path / "a", b"held").exists()
    os.close(descriptor)
    put_blob(tmp_path / "a", b"held")
    synced(fleet, ["m"])
    assert not list(tmp_path.rglob("*.damaged"))


def test_blobs_that_nobody_has_are_damaged_by_nobodys_word(tmp_path):
    fleet = box(tmp_path / "a")
    put_model(tmp_path / "a", "m/latest", WEIGHTS)
    lies = {str(tmp_path / "a"): ["../../etc/passwd", f"sha256:{'a' * 64}"], "/etc": ["x"]}
    plan, _ = synced(fleet, ["m"], damaged=lies)
    assert (plan.damaged, plan.steps) == ({}, ())
