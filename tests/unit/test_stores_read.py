"""What is read from a model store, and what is planned from that."""

import hashlib
import json
import os
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_store import blob_file, put_blob, put_model

from ollama_fleet.control.stores import (
    Claims,
    Damage,
    Disk,
    Fault,
    Layer,
    Manifest,
    Partial,
    Store,
    Way,
    model_sizes,
    plan_transfer,
    read_store,
    shortages,
)
from ollama_fleet.errors import NotEnoughSpace, StoreError

GIB = 2**30


def layer(letter, size_bytes=10):
    return Layer(f"sha256:{letter * 64}", size_bytes)


def model(name="m", *layers, digest="d", path=""):
    key = f"registry.ollama.ai/library/{name.lower()}:latest"
    return Manifest(name, key, path or f"p/{name}", digest, 1, layers, b"{}")


def store(path="/s", *models, has=(), device=1, free_bytes=100 * GIB):
    blobs = {each.digest: each.size_bytes for each in has}
    return Store(path, models, blobs, disk=Disk(device, free_bytes))


# -- reading ---------------------------------------------------------------------------------------


def test_a_model_is_what_its_manifest_says(tmp_path):
    file = put_model(tmp_path, "qwen3/8B", b"weights", b"template", config=b"{}")
    os.utime(file, ns=(5, 1_700_000_000_123_456_789))
    found = read_store(tmp_path)
    (one,) = found.models
    assert (one.name, one.key) == ("qwen3:8B", "registry.ollama.ai/library/qwen3:8b")
    assert one.path == "registry.ollama.ai/library/qwen3/8B"
    assert one.digest == hashlib.sha256(file.read_bytes()).hexdigest()
    assert one.modified_ns == 1_700_000_000_123_456_789
    assert [each.size_bytes for each in one.layers] == [7, 8, 2]
    assert (one.size_bytes, one.content) == (17, file.read_bytes())
    assert found.blobs == {each.digest: each.size_bytes for each in one.layers}
    assert found.damage() == ()
    assert found.holds(one)
    assert found.disk is not None
    assert found.disk.device == tmp_path.stat().st_dev
    assert model_sizes(tmp_path) == {one.key: 17}


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("hf.co/You/It-GGUF/Q4_K_M", "hf.co/You/It-GGUF:Q4_K_M"),
        ("registry.ollama.ai/me/mine/latest", "me/mine:latest"),
        ("registry.ollama.ai/library/gpt-oss/120b-cloud", "gpt-oss:120b-cloud"),
    ],
)
def test_a_model_has_the_name_that_ollama_shows(tmp_path, path, name):
    put_model(tmp_path, path, b"w")
    assert [each.name for each in read_store(tmp_path).models] == [name]


def test_what_is_not_there_is_empty(tmp_path):
    found = read_store(tmp_path / "new" / "store")
    assert (found.models, found.blobs, found.partials, found.unreadable) == ((), {}, (), ())
    assert found.disk is not None, "the disk where it would be made"


def test_missing_and_cut_blobs_are_damage_and_only_theirs(tmp_path):
    put_model(tmp_path, "whole/latest", b"a", b"shared")
    put_model(tmp_path, "broken/latest", b"gone", b"cut short", b"shared")
    blob_file(tmp_path, b"gone").unlink()
    blob_file(tmp_path, b"cut short").write_bytes(b"cut")
    found = read_store(tmp_path)
    gone, cut = (hashlib.sha256(each).hexdigest() for each in (b"gone", b"cut short"))
    assert found.damage() == (
        Damage("broken:latest", f"sha256:{gone}", Fault.MISSING),
        Damage("broken:latest", f"sha256:{cut}", Fault.WRONG_SIZE),
    )
    assert str(found.damage()[0]) == f"broken:latest: blob {gone[:12]} is missing"
    assert [each.name for each in found.models if found.holds(each)] == ["whole:latest"]


def test_a_blob_that_is_a_link_to_another_disk_counts_with_what_it_leads_to(tmp_path):
    put_model(tmp_path, "m/latest", b"weights")
    elsewhere = tmp_path / "elsewhere"
    blob_file(tmp_path, b"weights").rename(elsewhere)
    blob_file(tmp_path, b"weights").symlink_to(elsewhere)
    assert read_store(tmp_path).damage() == ()
    elsewhere.unlink()
    assert [each.fault for each in read_store(tmp_path).damage()] == [Fault.MISSING]


def test_a_name_that_is_there_for_the_time_of_a_pull_is_no_model(tmp_path):
    put_model(tmp_path, "m/latest", b"w")
    put_model(tmp_path, f"10.0.0.1:4000/{'ab' * 32}/m/latest", b"w")
    assert [each.name for each in read_store(tmp_path).models] == ["m:latest"]


def test_partials_say_how_much_is_there(tmp_path):
    digest = put_blob(tmp_path, b"another")
    name = "sha256-" + "a" * 64
    blobs = tmp_path / "blobs"
    (blobs / f"{name}-partial").write_bytes(bytes(300))  # sparse, of full size from the start
    for n, (size, completed) in enumerate([(100, 100), (200, 50)]):
        part = {"N": n, "Offset": 100 * n, "Size": size, "Completed": completed}
        (blobs / f"{name}-partial-{n}").write_text(json.dumps(part))
    (blobs / f"sha256-{'b' * 64}-partial-0").write_text('{"N":0,')  # being written
    (tmp_path / ".ollama-fleet").mkdir()
    (tmp_path / ".ollama-fleet" / f"sha256-{'c' * 64}.part").write_bytes(bytes(7))
    found = read_store(tmp_path)
    assert found.partials == (
        Partial(f"sha256:{'a' * 64}", 150, 300),
        Partial(f"sha256:{'b' * 64}", 0, 0),
        Partial(f"sha256:{'c' * 64}", 7, 0, ours=True),
    )
    assert found.blobs == {digest: 7}, "what is not whole is no blob"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b'{"layers":[]}',
        b'{"config":{"digest":"sha256:../../../etc/passwd","size":1},"layers":[]}',
        b'{"config":{"digest":"","size":0},"layers":[{"digest":"sha256:ab","size":1}]}',
        b'{"config":{},"layers":[{"digest":"sha256:' + b"a" * 64 + b'","size":-1}]}',
        b'{"config":{},"layers":[7]}',
        b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_a_manifest_that_cannot_be_read_is_told_of_and_hides_no_other(tmp_path, content):
    put_model(tmp_path, "good/latest", b"w")
    put_model(tmp_path, "bad/latest").write_bytes(content)
    found = read_store(tmp_path)
    assert [each.name for each in found.models] == ["good:latest"]
    (line,) = found.unreadable
    assert "bad/latest: " in line


def test_a_stub_without_layers_is_a_model(tmp_path):
    put_model(tmp_path, "x/cloud").write_text('{"config":{"digest":"","size":0},"layers":null}')
    found = read_store(tmp_path)
    assert [(each.name, each.layers) for each in found.models] == [("x:cloud", ())]


def test_a_manifest_that_has_not_changed_is_not_read_again(tmp_path, monkeypatch):
    """One that took its place is, though it has the same name, size and time."""
    file = put_model(tmp_path, "a/latest", b"one")
    other = put_model(tmp_path / "elsewhere", "a/latest", b"two")
    now_ns = time.time_ns() + 60 * 10**9
    monkeypatch.setattr(time, "time_ns", lambda: now_ns)
    (first,), (again,) = (read_store(tmp_path).models for _ in range(2))
    assert again is first
    before = file.stat()
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert other.stat().st_size == before.st_size
    other.replace(file)
    (found,) = read_store(tmp_path).models
    assert (found.modified_ns, found.digest == first.digest) == (before.st_mtime_ns, False)


def test_a_manifest_that_was_written_just_now_is_read_again(tmp_path, monkeypatch):
    """Ollama writes in place: after a second write within a tick of the clock it looks the same."""
    file = put_model(tmp_path, "a/latest", b"weights")
    now_ns = file.stat().st_ctime_ns + 10**9
    monkeypatch.setattr(time, "time_ns", lambda: now_ns)
    (first,), (again,) = (read_store(tmp_path).models for _ in range(2))
    assert again == first
    assert again is not first


def test_hundreds_of_models_are_read_without_reading_blobs(tmp_path):
    """The blobs are holes of a size that nobody could read in the time a test has."""
    for n in range(200):
        put_model(tmp_path, f"m{n}/latest", str(n).encode())
    for path in (tmp_path / "blobs").iterdir():
        os.truncate(path, 2**40)
    found = read_store(tmp_path)
    assert len(found.models) == 200
    assert {each.fault for each in found.damage()} == {Fault.WRONG_SIZE}


# -- planning --------------------------------------------------------------------------------------


def test_a_model_that_is_there_whole_needs_nothing():
    mine = model("m", layer("a"))
    assert (
        plan_transfer(mine, store("/a", mine, has=mine.layers), store("/b", mine, has=mine.layers))
        is None
    )


def test_only_what_is_lacking_is_brought_each_blob_once():
    mine = model("m", layer("a"), layer("b"), layer("a"))
    plan = plan_transfer(mine, store("/a", mine, has=mine.layers), store("/b", has=[layer("b")]))
    assert (plan.layers, plan.way, plan.copied) == ((layer("a"),), Way.LINK, ())


def test_another_disk_takes_copies_and_their_room():
    mine = model("m", layer("a", 3), layer("b", 4))
    source = store("/a", mine, has=mine.layers)
    plan = plan_transfer(mine, source, store("/b", device=2))
    assert (plan.way, plan.copied) == (Way.COPY, mine.layers)
    unknown = replace(store("/b"), disk=None)
    assert plan_transfer(mine, source, unknown).way is Way.COPY


def test_what_another_store_of_that_disk_has_of_a_model_is_not_copied_there_again():
    """Only if one of its models names it, for nobody else has looked at it."""
    mine = model("m", layer("a", 3), layer("b", 4))
    source, target = store("/a", mine, has=mine.layers), store("/b", device=2)
    named = store("/c", model("n", layer("a", 3)), has=mine.layers, device=2)
    elsewhere = store("/d", mine, has=mine.layers, device=3)
    plan = plan_transfer(mine, source, target, [elsewhere, named])
    assert (plan.way, plan.copied) == (Way.COPY, (layer("b", 4),))
    assert plan.near == {layer("a", 3).digest: "/c"}
    twin = store("/c", mine, has=mine.layers, device=2)
    assert plan_transfer(mine, source, target, [twin]).way is Way.LINK


def test_blobs_that_are_there_under_no_name_only_get_it():
    mine = model("m", layer("a"))
    plan = plan_transfer(mine, store("/a", mine, has=mine.layers), store("/b", has=mine.layers))
    assert (plan.layers, plan.way) == ((), Way.THERE)


def test_a_name_in_another_spelling_is_replaced_not_doubled():
    new, old = model("M", layer("a"), digest="new"), model("m", layer("b"), path="p/old")
    plan = plan_transfer(new, store("/a", new, has=new.layers), store("/b", old, has=old.layers))
    assert plan.path == "p/old"


def test_a_blob_of_the_wrong_size_is_lacking_and_a_damaged_source_gives_nothing():
    mine = model("m", layer("a"))
    whole, cut = store("/a", mine, has=mine.layers), store("/b", mine, has=[layer("a", 3)])
    assert plan_transfer(mine, whole, cut).layers == mine.layers
    with pytest.raises(StoreError, match="m is damaged in /b"):
        plan_transfer(mine, cut, store("/c"))


def test_a_damaged_source_will_do_where_the_rest_is_there():
    mine = model("m", layer("a"), layer("b"))
    plan = plan_transfer(mine, store("/a", mine, has=[layer("b")]), store("/b", has=[layer("a")]))
    assert plan.layers == (layer("b"),)


def test_stores_on_one_disk_share_its_room():
    """Two copies of 10 GiB into a disk with 12 GiB: one of them is refused."""
    disk, claims = Disk(2, 12 * GIB), Claims()
    with claims.claim() as one, claims.claim() as other:
        one.add("a", disk, Path("/b"), 10 * GIB)
        with pytest.raises(NotEnoughSpace, match=r"/c has 12.0 GiB left.* besides 10.0 GiB"):
            other.add("a", disk, Path("/c"), 10 * GIB)
        other.add("a", Disk(3, 12 * GIB), Path("/d"), 10 * GIB)
        one.left("a", 2 * GIB)
        with pytest.raises(NotEnoughSpace, match=r"/c has 4.0 GiB left"):
            other.add("b", Disk(2, 4 * GIB), Path("/c"), 2 * GIB)
    with claims.claim() as later:
        later.add("a", disk, Path("/c"), 10 * GIB)


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 50)), max_size=20),
    st.integers(0, 100),
    st.integers(0, 40),
)
def test_what_is_claimed_together_never_leaves_a_disk_less_than_the_margin(asked, free, margin):
    """And what is refused would have."""
    claims, taken = Claims(margin_bytes=margin), dict.fromkeys(range(3), 0)
    with ExitStack() as stack:
        for device, count in asked:
            claim = stack.enter_context(claims.claim())
            fits = not count or free - taken[device] - count >= margin
            try:
                claim.add("a", Disk(device, free), Path("/a"), count)
            except NotEnoughSpace:
                assert not fits
            else:
                assert fits
                taken[device] += count


def test_what_takes_no_room_fits_on_a_full_disk():
    with Claims().claim() as claim:
        claim.add("a", Disk(1, 0), Path("/b"), 0)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 50)), max_size=20),
    st.integers(0, 100),
    st.integers(0, 40),
)
def test_a_disk_is_short_exactly_if_its_sum_leaves_less_than_the_margin(asked, free, margin):
    wanted = [(Disk(device, free), count) for device, count in asked]
    sums = {d: sum(c for e, c in asked if e == d) for d, _ in asked}
    short = {each.disk.device: each.wanted_bytes for each in shortages(wanted, margin_bytes=margin)}
    assert short == {d: s for d, s in sums.items() if s and free - s < margin}
