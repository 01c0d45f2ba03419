"""What is in a download's file is told from where its holes begin."""

import json
import os
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.control.stores import resuming
from ollama_fleet.control.stores.holes import written_end

BLOB = f"sha256-{'a' * 64}"
PART_BYTES = 100_003  # no multiple of any block


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A place for files of which the system knows the holes."""
    path = tmp_path_factory.mktemp("sparse")
    file = path / "probe"
    with file.open("wb") as probe:
        probe.truncate(1 << 20)
        if os.lseek(probe.fileno(), 0, os.SEEK_HOLE) != 0:
            pytest.skip("a file system without holes")
    return path


def grown(path, came):
    """A file of parts, of each of which so many bytes have come; none of them is zero."""
    with path.open("wb") as file:
        file.truncate(PART_BYTES * len(came))
        for number, count in enumerate(came):
            file.seek(number * PART_BYTES)
            file.write(random.Random(number).randbytes(count).replace(b"\0", b"\1"))
    return path


@given(came=st.lists(st.integers(0, PART_BYTES), min_size=1, max_size=5))
def test_never_more_is_told_than_has_come_and_hardly_less(folder, came):
    """Also where the next part's first bytes stand in the block in which this one would end."""
    path = grown(folder / "file", came)
    block_bytes = path.stat().st_blksize
    with path.open("rb") as file:
        for number, count in enumerate(came):
            begin = number * PART_BYTES
            told = written_end(file.fileno(), begin, begin + PART_BYTES) - begin
            assert max(0, count - 3 * block_bytes) <= told <= count


def test_of_a_file_full_of_zeros_nothing_is_told(folder):
    path = folder / "zeros"
    path.write_bytes(bytes(1 << 20))
    with path.open("rb") as file:
        assert written_end(file.fileno(), 0, 1 << 20) == 0
        assert written_end(file.fileno(), 2 << 20, 3 << 20) == 2 << 20, "nor of what is not there"


def test_what_came_after_the_last_record_is_written_down(folder):
    """Where the record knows more, as that of a part that was broken off in peace, it stays."""
    blobs = folder / "store" / "blobs"
    blobs.mkdir(parents=True)
    grown(blobs / f"{BLOB}-partial", (PART_BYTES, 70_000, 50_001))
    for number, completed in enumerate((PART_BYTES, 0, 50_001)):
        record = {"N": number, "Offset": number * PART_BYTES, "Size": PART_BYTES}
        path = blobs / f"{BLOB}-partial-{number}"
        path.write_text(json.dumps({**record, "Completed": completed}))
    assert resuming.mend_downloads(blobs.parent), "there is one"
    told = [
        json.loads((blobs / f"{BLOB}-partial-{number}").read_bytes())["Completed"]
        for number in range(3)
    ]
    assert (told[0], told[2]) == (PART_BYTES, 50_001)
    assert 50_000 < told[1] <= 70_000


def test_a_download_that_ends_while_it_is_looked_at_leaves_no_record_behind(folder, monkeypatch):
    """Ollama would take a record without a file for the whole of the next download."""
    blobs = folder / "ending" / "blobs"
    blobs.mkdir(parents=True)
    growing = grown(blobs / f"{BLOB}-partial", (70_000,))
    record = blobs / f"{BLOB}-partial-0"
    record.write_text(json.dumps({"N": 0, "Offset": 0, "Size": PART_BYTES, "Completed": 0}))

    def ends(*_):
        record.unlink()
        growing.rename(blobs / BLOB)
        return 65_536

    monkeypatch.setattr(resuming, "written_end", ends)
    resuming.mend_downloads(blobs.parent)
    assert list(blobs.iterdir()) == [blobs / BLOB]
    assert not resuming.mend_downloads(blobs.parent), "there is none any more"
