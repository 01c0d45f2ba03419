"""Reading weights ahead: real files, and what the kernel then has of them in memory."""

import os
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from cli_fixtures import until

from ollama_fleet.control import readahead
from ollama_fleet.control.pagecache import cached_ratio
from ollama_fleet.control.readahead import ReadAhead, weights_file
from ollama_fleet.placement import InstanceSpec
from ollama_fleet.state import Instance


@pytest.fixture
def weights(tmp_path):
    """A file of some megabytes that is on disk only."""
    path = tmp_path / "weights"
    with path.open("wb") as file:
        file.write(os.urandom(20 * 2**20))
        file.flush()
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if cached_ratio(path) != 0.0:
        pytest.skip("this file system keeps its files in memory")
    return path


@contextmanager
def read_ahead():
    made = ReadAhead()
    try:
        yield made
    finally:
        made.close()


def test_a_file_that_is_being_loaded_comes_into_memory(weights):
    """Where a kernel is short of memory it drops pages at once: then a later load finds them."""

    def loaded():
        with read_ahead() as ahead, ahead.leading(weights):
            ahead._threads.shutdown(wait=True)
            return cached_ratio(weights) == 1.0

    until(loaded, "all of it is in memory")


def test_a_file_is_read_once_for_all_who_load_it(weights, monkeypatch):
    reads = []
    monkeypatch.setattr(readahead, "_read", lambda path, over: reads.append((path, over)))
    with read_ahead() as ahead:
        with ahead.leading(weights), ahead.leading(weights):
            until(lambda: reads, "somebody reads")
        ((path, over),) = reads
        assert (path, over.is_set()) == (weights, True), "nobody loads it any more"
        with ahead.leading(weights):
            until(lambda: len(reads) == 2, "it is read again for those who come later")


def test_it_is_read_on_for_those_who_load_longer(weights, monkeypatch):
    overs = []
    monkeypatch.setattr(readahead, "_read", lambda _path, over: overs.append(over))
    with read_ahead() as ahead, ahead.leading(weights):
        with ahead.leading(weights):
            until(lambda: overs, "somebody reads")
        assert not overs[0].is_set()


def test_what_has_no_room_is_left_to_its_load(weights, monkeypatch):
    monkeypatch.setattr(readahead, "_ROOM", 0.0)
    with read_ahead() as ahead, ExitStack() as stack:
        stack.enter_context(ahead.leading(weights))
        ahead._threads.shutdown(wait=True)
        assert cached_ratio(weights) == 0.0


def test_a_file_that_is_not_there_and_a_store_that_is_not_ours_hurt_nobody(tmp_path):
    with read_ahead() as ahead, ahead.leading(tmp_path / "none"), ahead.leading(None):
        ahead._threads.shutdown(wait=True)
    ours, theirs = (
        Instance(InstanceSpec("i", "g", "h", 1, 1, "/store", external=external))
        for external in (False, True)
    )
    digest = "sha256:" + "12ab" * 16
    assert weights_file(ours, digest) == Path("/store/blobs") / digest.replace(":", "-")
    assert weights_file(theirs, digest) is None
    assert weights_file(ours, "registry.ollama.ai/library/m:latest") is None


def test_a_file_is_read_where_the_instance_runs_that_loads_it(tmp_path, monkeypatch):
    """Then it lies in the memory near to that; for one that is bound to nothing, anywhere."""
    every, where = os.sched_getaffinity(0), []
    monkeypatch.setattr(readahead, "_read", lambda *_: where.append(os.sched_getaffinity(0)))
    with read_ahead() as ahead:
        for cpus in [{max(every)}, (), {2**15 - 1}, {min(every)}, ()]:
            before = len(where)
            with ahead.leading(tmp_path / str(before), cpus):
                until(lambda count=before: len(where) > count, "it is read")
    assert where == [{max(every)}, every, where[2], {min(every)}, every]
    assert os.sched_getaffinity(0) == every, "only the thread that reads moves"
