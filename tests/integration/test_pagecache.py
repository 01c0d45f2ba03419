"""What the kernel says of files in its page cache."""

import os

import pytest
from fleet_process import until

from ollama_fleet.control.pagecache import cached_ratio

SIZE_BYTES = 9 * 2**20 + 5  # no whole number of windows, nor of pages


@pytest.fixture
def file(tmp_path):
    """A file that is on disk, and in the page cache because it was just written."""
    path = tmp_path / "blob"
    with path.open("wb") as opened:
        opened.write(os.urandom(SIZE_BYTES))
        opened.flush()
        os.fsync(opened.fileno())
    return path


def _drop(path):
    with path.open("rb") as opened:
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def test_a_file_that_was_just_read_is_in_memory(file):
    """Where a kernel is short of memory it drops pages at once: then it is read again."""
    until(lambda: file.read_bytes() and cached_ratio(file) == 1.0, what="all of it in memory")


def test_a_file_that_the_kernel_let_go_is_not(file):
    _drop(file)
    if cached_ratio(file) == 1.0:
        pytest.skip("this file system keeps its files in memory")
    until(lambda: _drop(file) or cached_ratio(file) == 0.0, what="none of it in memory")
    with file.open("rb") as opened:
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        opened.read(3 * 2**20)
    assert 0.0 < cached_ratio(file) < 0.6


def test_where_there_is_nothing_to_read_nothing_is_told(tmp_path):
    (tmp_path / "empty").touch()
    assert cached_ratio(tmp_path / "empty") is None
    assert cached_ratio(tmp_path / "missing") is None
    assert cached_ratio(tmp_path) is None
