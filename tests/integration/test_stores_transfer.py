"""Models between real stores: links, copies, full disks, kills."""

import errno
import fcntl
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from fleet_process import until
from made_store import blob_file, put_model

from ollama_fleet.control.stores import (
    TransferStopped,
    Way,
    bring_blobs,
    place_manifest,
    plan_transfer,
    read_store,
    verify_blob,
)
from ollama_fleet.errors import BlobDamaged, NotEnoughSpace, StoreError
from ollama_fleet.system import files

MIB = 2**20
SHM = Path("/dev/shm")
KEY = "registry.ollama.ai/library/m:latest"


def never():
    return False


@pytest.fixture
def stores(tmp_path):
    """Two empty places for stores, on one file system."""
    return tmp_path / "a", tmp_path / "b"


@pytest.fixture
def unlinkable(monkeypatch):
    """Stores between which links and clones are refused, as between two disks."""

    def refuse(_self, _original):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    monkeypatch.setattr(files, "_FICLONE", 0)


def plan(source, target):
    one = read_store(source).model(KEY)
    return plan_transfer(one, read_store(source), read_store(target))


def bring(source, target, *, tell=lambda *_: None, stopped=never, margin_bytes=0):
    wanted = plan(source, target)
    came = bring_blobs(wanted, tell=tell, stopped=stopped, margin_bytes=margin_bytes)
    place_manifest(wanted)
    return came


def assert_equal(source, target):
    """The target has the model: same digest, same time, every blob what its name says."""
    mine, theirs = read_store(source).model(KEY), read_store(target)
    assert theirs.holds(mine)
    assert theirs.damage() == ()
    assert theirs.model(KEY).modified_ns == mine.modified_ns
    for layer in mine.layers:
        verify_blob(target, layer)


def left_over(store):
    return [p.name for p in (store / ".ollama-fleet").iterdir()]


# -- ways ------------------------------------------------------------------------------------------


def test_on_one_file_system_blobs_are_linked_and_the_manifest_is_not(stores):
    a, b = stores
    file = put_model(a, "m/latest", b"weights", b"template")
    os.utime(file, ns=(1, 1_600_000_000_987_654_321))
    told = []
    assert bring(a, b, tell=lambda *each: told.append(each)) == {Way.LINK: 7 + 8 + 2}
    assert_equal(a, b)
    for blob in (a / "blobs").iterdir():
        assert blob.samefile(b / "blobs" / blob.name)
    manifest = b / file.relative_to(a)
    assert manifest.read_bytes() == file.read_bytes()
    assert (file.stat().st_nlink, manifest.stat().st_nlink) == (1, 1)
    assert [size for _, size in told] == [7, 8, 2]
    assert left_over(b) == []


@pytest.mark.skipif(not SHM.is_dir(), reason="no second file system at hand")
def test_to_another_file_system_blobs_are_copied_and_verified(tmp_path):
    a, b = tmp_path / "a", SHM / f"fleet-store-{os.getpid()}"
    content = random.Random(1).randbytes(5 * MIB + 7)
    put_model(a, "m/latest", content, b"")
    try:
        assert plan(a, b).way is Way.COPY
        told = []
        assert bring(a, b, tell=lambda *each: told.append(each)) == {Way.COPY: len(content) + 2}
        assert_equal(a, b)
        sizes = [size for digest, size in told if digest == told[0][0]]
        assert sizes == sorted(sizes)
        assert (sizes[0], sizes[-1]) == (MIB, len(content))
        assert left_over(b) == []
    finally:
        shutil.rmtree(b, ignore_errors=True)


@pytest.mark.usefixtures("unlinkable")
def test_a_file_that_must_not_be_linked_is_copied(stores):
    a, b = stores
    put_model(a, "m/latest", b"weights")
    assert bring(a, b) == {Way.COPY: 9}
    assert_equal(a, b)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of two owners")
def test_between_owners_nothing_is_linked_that_the_other_could_not_read(stores):
    a, b = stores
    put_model(a, "m/latest", b"secret", config=b"open")
    blob_file(a, b"secret").chmod(0o640)
    b.mkdir()
    os.chown(b, 4321, 8765)
    assert bring(a, b) == {Way.LINK: 4, Way.COPY: 6}
    made = [p for p in b.rglob("*") if not p.samefile(blob_file(b, b"open"))]
    assert {(p.stat().st_uid, p.stat().st_gid) for p in made} == {(4321, 8765)}
    assert blob_file(b, b"secret").stat().st_mode & 0o777 == 0o644


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("mkfs.xfs") is None, reason="needs root and mkfs.xfs"
)
def test_where_a_link_is_refused_and_the_disk_can_clone_blobs_are_reflinked(tmp_path):
    """A bind mount is another file system to a link, and the same to a clone."""
    content = random.Random(8).randbytes(3 * MIB)
    with disk_image(tmp_path / "image", tmp_path / "disk") as disk:
        a, b = disk / "a", tmp_path / "bound"
        put_model(a, "m/latest", content)
        (disk / "b").mkdir()
        with mounted(["--bind", disk / "b"], b):
            part = b / ".ollama-fleet" / f"{blob_file(a, content).name}.part"
            part.parent.mkdir()
            part.write_bytes(bytes(4 * MIB))
            assert bring(a, b) == {Way.REFLINK: len(content) + 2}
            assert_equal(a, b)
            assert not blob_file(b, content).samefile(blob_file(a, content))
            assert left_over(b) == []


@pytest.mark.skipif(not SHM.is_dir(), reason="no second file system at hand")
def test_a_store_whose_blobs_are_on_a_disk_of_their_own_has_its_copies_there(stores):
    a, b = stores
    content = random.Random(9).randbytes(3 * MIB)
    put_model(a, "m/latest", content)
    elsewhere = SHM / f"fleet-blobs-{os.getpid()}"
    elsewhere.mkdir()
    b.mkdir()
    (b / "blobs").symlink_to(elsewhere)
    stop = threading.Event()
    try:
        with pytest.raises(TransferStopped):
            bring(a, b, tell=lambda *_: stop.set(), stopped=stop.is_set)
        assert [p.completed_bytes for p in read_store(b).partials] == [MIB]
        assert bring(a, b) == {Way.COPY: len(content) + 2}
        assert_equal(a, b)
        assert read_store(b).disk.device == elsewhere.stat().st_dev
        assert list((elsewhere / ".ollama-fleet").iterdir()) == []
    finally:
        shutil.rmtree(elsewhere)


@pytest.mark.usefixtures("unlinkable")
def test_a_link_that_was_laid_where_a_copy_grows_is_not_followed(stores):
    a, b = stores
    put_model(a, "m/latest", b"weights")
    (b / ".ollama-fleet").mkdir(parents=True)
    victim = b / "victim"
    victim.write_text("precious")
    part = b / ".ollama-fleet" / f"{blob_file(a, b'weights').name}.part"
    part.symlink_to(victim)
    with pytest.raises(StoreError, match="symbolic links"):
        bring(a, b)
    assert victim.read_text() == "precious"


def test_a_link_that_leads_elsewhere_is_followed(stores):
    a, b = stores
    put_model(a, "m/latest", b"weights")
    blob_file(a, b"weights").rename(a / "elsewhere")
    blob_file(a, b"weights").symlink_to(a / "elsewhere")
    bring(a, b)
    assert not blob_file(b, b"weights").is_symlink()
    assert_equal(a, b)


@pytest.mark.parametrize("linked", [True, False])
def test_a_blob_of_the_wrong_size_is_replaced(stores, linked, request):
    a, b = stores
    if not linked:
        request.getfixturevalue("unlinkable")
    put_model(a, "m/latest", b"weights")
    put_model(b, "m/latest", b"weights")
    blob_file(b, b"weights").write_bytes(b"wei")
    bring(a, b)
    assert_equal(a, b)


def test_a_new_version_replaces_the_old_at_once_and_under_its_spelling(stores):
    a, b = stores
    put_model(a, "m/latest", b"new")
    old = put_model(b, "M/latest", b"old")
    wanted = plan(a, b)
    bring_blobs(wanted, tell=lambda *_: None, stopped=never)
    assert read_store(b).model(KEY).content == old.read_bytes(), "before its turn nothing changes"
    place_manifest(wanted)
    assert_equal(a, b)
    assert [each.path for each in read_store(b).models] == ["registry.ollama.ai/library/M/latest"]


def test_blobs_that_were_removed_meanwhile_get_no_name(stores):
    a, b = stores
    put_model(a, "m/latest", b"weights")
    wanted = plan(a, b)
    bring_blobs(wanted, tell=lambda *_: None, stopped=never)
    blob_file(b, b"weights").unlink()
    with pytest.raises(BlobDamaged, match="is not there any more"):
        place_manifest(wanted)
    assert read_store(b).models == ()


# -- what goes wrong -------------------------------------------------------------------------------


@pytest.mark.usefixtures("unlinkable")
def test_a_blob_that_is_not_what_its_name_says_is_not_copied(stores):
    a, b = stores
    put_model(a, "m/latest", b"weights")
    blob_file(a, b"weights").write_bytes(b"wEights")
    with pytest.raises(BlobDamaged, match=r"the content of .* is sha256:"):
        bring(a, b)
    assert read_store(b).blobs.keys() <= {read_store(a).model(KEY).layers[-1].digest}
    assert left_over(b) == []
    (weights, _) = read_store(a).model(KEY).layers
    with pytest.raises(BlobDamaged, match="has the content"):
        verify_blob(a, weights)


@pytest.mark.usefixtures("unlinkable")
def test_a_damaged_beginning_is_copied_anew(stores):
    """What a crash of the machine left of a copy may be zeros."""
    a, b = stores
    content = random.Random(2).randbytes(2 * MIB)
    put_model(a, "m/latest", content)
    (b / ".ollama-fleet").mkdir(parents=True)
    part = b / ".ollama-fleet" / f"{blob_file(a, content).name}.part"
    part.write_bytes(bytes(MIB))
    bring(a, b)
    assert_equal(a, b)


@pytest.mark.usefixtures("unlinkable")
def test_too_little_room_is_told_before_anything_is_copied(stores):
    a, b = stores
    put_model(a, "m/latest", b"weights")
    told = []
    with pytest.raises(NotEnoughSpace, match="left, and 7 B are to be written there"):
        bring(a, b, margin_bytes=2**60, tell=lambda *each: told.append(each))
    assert told == []
    assert read_store(b).blobs == {}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_disk_that_becomes_full_is_named_and_nothing_is_broken(tmp_path):
    a, b = tmp_path / "a", tmp_path / "small"
    content = random.Random(3).randbytes(4 * MIB)
    put_model(a, "m/latest", content)
    with mounted(["-t", "tmpfs", "-o", f"size={3 * MIB}", "small"], b):
        put_model(b, "m/latest", b"old")
        before = read_store(b)
        with pytest.raises(NotEnoughSpace, match="No space left on device"):
            bring(a, b, margin_bytes=-(2**40))  # as if the room had gone while it copied
        after = read_store(b)
        assert (after.models, after.blobs, after.damage()) == (before.models, before.blobs, ())
        assert left_over(b) == [], "what does not fit takes no room"


@contextmanager
def mounted(arguments, path):
    path.mkdir()
    if subprocess.run(["mount", *arguments, path], check=False, capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        yield path
    finally:
        # The last sync of a copy that has failed holds its file a little longer.
        until(lambda: not subprocess.run(["umount", path], check=False).returncode, what="umount")


@contextmanager
def disk_image(image, path):
    """A file system in a file, of the kind that can clone."""
    with image.open("wb") as file:
        file.truncate(320 * MIB)  # the least that mkfs.xfs accepts; it stays a hole
    subprocess.run(["mkfs.xfs", "-q", "-m", "reflink=1", image], check=True)
    with mounted(["-o", "loop", image], path) as disk:
        yield disk


@pytest.mark.usefixtures("unlinkable")
def test_a_write_that_the_system_refuses_leaves_the_old_state(stores):
    a, b = stores
    put_model(a, "m/latest", random.Random(4).randbytes(3 * MIB))
    put_model(b, "m/latest", b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, limits[1]))
    try:
        with pytest.raises(StoreError, match="File too large"):
            bring(a, b)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert read_store(b).model(KEY).layers[0].size_bytes == 3
    assert read_store(b).damage() == ()


def test_a_source_that_has_gone_is_said(stores):
    a, b = stores
    put_model(a, "m/latest", b"weights")
    wanted = plan(a, b)
    blob_file(a, b"weights").unlink()
    with pytest.raises(BlobDamaged, match="is missing"):
        bring_blobs(wanted, tell=lambda *_: None, stopped=never)


# -- stopping, going on, side by side --------------------------------------------------------------


@pytest.mark.usefixtures("unlinkable")
def test_a_copy_that_is_stopped_is_gone_on_with(stores):
    a, b = stores
    content = random.Random(5).randbytes(8 * MIB)
    put_model(a, "m/latest", content)
    stop, stopped_s = threading.Event(), []

    def tell(_digest, done_bytes):
        if done_bytes >= 3 * MIB and not stop.is_set():
            stop.set()
            stopped_s.append(time.monotonic())

    with pytest.raises(TransferStopped):
        bring(a, b, tell=tell, stopped=stop.is_set)
    assert time.monotonic() - stopped_s[0] < 10.0
    found = read_store(b)
    assert (found.models, [p.completed_bytes for p in found.partials]) == ((), [3 * MIB])
    inode = (b / ".ollama-fleet" / left_over(b)[0]).stat().st_ino
    bring(a, b)
    assert_equal(a, b)
    assert blob_file(b, content).stat().st_ino == inode, "the beginning was kept"


@pytest.mark.usefixtures("unlinkable")
def test_two_who_bring_one_blob_share_the_copy(stores):
    a, b = stores
    content = random.Random(6).randbytes(6 * MIB)
    put_model(a, "m/latest", content)
    came, both = [], threading.Barrier(2)

    def run():
        both.wait()
        came.append(bring(a, b))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sum(each.get(Way.COPY, 0) for each in came) == len(content) + 2
    assert len(came) == 2
    assert_equal(a, b)


@pytest.mark.usefixtures("unlinkable")
def test_who_waits_for_anothers_copy_can_be_stopped(stores):
    a, b = stores
    put_model(a, "m/latest", b"weights")
    (b / ".ollama-fleet").mkdir(parents=True)
    with (b / ".ollama-fleet" / f"{blob_file(a, b'weights').name}.part").open("w") as part:
        fcntl.flock(part, fcntl.LOCK_EX)
        with pytest.raises(TransferStopped):
            bring(a, b, stopped=iter([False, True]).__next__)


COPIER = """
import errno, os, signal, sys
from pathlib import Path
from ollama_fleet.control.stores import bring_blobs, place_manifest
from ollama_fleet.control.stores import plan_transfer, read_store
from ollama_fleet.system import files

def refuse(self, original):
    raise OSError(errno.EXDEV, "")

def say(*what):
    os.write(1, b"".join(str(each).encode() + b" " for each in what) + b"\\n")

def copy(source, target, key, stays):
    told = 0

    def tell(*what):
        nonlocal told
        told += 1
        say(*what)
        if told == int(stays):
            signal.pause()  # where it is killed, however late that comes

    found = read_store(Path(source))
    plan = plan_transfer(found.model(key), found, read_store(Path(target)))
    bring_blobs(plan, tell=tell, stopped=lambda: False, margin_bytes=0)
    place_manifest(plan)
    say("done")
    os._exit(0)

Path.hardlink_to = refuse
files._FICLONE = 0
for line in sys.stdin:
    child = os.fork()
    if not child:
        copy(*line.split())
    say(child)
    os.waitpid(child, 0)
    say("ended")
"""


def read_until(copier, word):
    lines = []
    while (line := copier.stdout.readline().split()) != [word]:
        assert line, "the copier itself has ended"
        lines.append(line)
    return lines


def kill_in_a_copy(copier, a, b, events, *, stays):
    """Start a copy and kill it after so many events of it, on the spot if it is to stay there."""
    copier.stdin.write(f"{a} {b} {KEY} {events if stays else 0}\n".encode())
    copier.stdin.flush()
    child = 0
    while events or not child:
        line = copier.stdout.readline().split()
        if line == [b"ended"]:
            return
        if len(line) == 1 and line[0].isdigit():
            child = int(line[0])
        else:
            events -= min(events, 1)
    with suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    read_until(copier, b"ended")


def test_a_kill_at_any_moment_leaves_the_old_model_or_the_new(tmp_path):
    """Twenty copies, each killed somewhere; a store never lists what it does not hold."""
    rng = random.Random(7)
    a, seen = tmp_path / "a", set()
    put_model(a, "m/latest", rng.randbytes(20 * MIB), b"template")
    command = [sys.executable, "-c", COPIER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE) as copier:
        for n in range(20):
            b = tmp_path / f"b{n}"
            put_model(b, "m/latest", b"old")
            kill_in_a_copy(copier, a, b, rng.randrange(26), stays=n % 2 == 0)
            found = read_store(b)
            assert (found.damage(), found.unreadable) == ((), ())
            (one,) = found.models
            for layer in one.layers:
                verify_blob(b, layer)
            new = one.digest == read_store(a).model(KEY).digest
            seen.add("new" if new else "begun" if found.partials else "old")
            if not new:
                bring(a, b)
            assert_equal(a, b)
        copier.stdin.close()
    assert "begun" in seen, f"no kill fell into a copy: {seen}"
