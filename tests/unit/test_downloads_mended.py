"""Records of Ollama's downloads that were lost, told from the others; or all begun anew."""

import json

from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.control.stores.resuming import Part, mend_downloads, mended

BLOB = f"sha256-{'a' * 64}"


def parts(total_bytes, size_bytes, completed=()):
    """A download as Ollama cuts it up; `completed` bytes of the first parts."""
    done = dict(enumerate(completed))
    offsets = range(0, total_bytes, size_bytes)
    sizes = [min(size_bytes, total_bytes - at) for at in offsets]
    both = enumerate(zip(offsets, sizes, strict=True))
    return {n: Part(n, at, size, min(done.get(n, 0), size)) for n, (at, size) in both}


@given(
    total_bytes=st.integers(1, 5000),
    size_bytes=st.integers(100, 1000),
    completed=st.lists(st.integers(0, 1000), max_size=16),
    data=st.data(),
)
def test_as_long_as_one_record_tells_the_size_of_parts_no_other_part_is_begun_anew(
    total_bytes, size_bytes, completed, data
):
    """Lost records, unreadable or not there at all, come back; what the others say stays."""
    whole = parts(total_bytes, size_bytes, completed)
    lost = data.draw(st.sets(st.sampled_from(sorted(whole)), max_size=len(whole) - 1))
    gone = data.draw(st.sets(st.sampled_from(sorted(lost)))) if lost else set()
    seen = {n: None if n in lost else part for n, part in whole.items() if n not in gone}
    anew = parts(total_bytes, size_bytes)
    if seen and any(seen.values()):
        assert mended(seen, total_bytes) == tuple(
            anew[n] if n in lost else whole[n] for n in sorted(whole)
        )


def test_records_that_do_not_go_together_tell_nothing():
    whole = parts(300, 100)
    assert mended({**whole, 1: None}, 300) == tuple(whole.values())
    assert mended({0: None, 1: None}, 200) == (), "none can be read"
    assert mended({**whole, 7: None}, 300) == (), "one more than there can be"
    assert mended({**whole, 1: Part(1, 90, 100, 0)}, 300) == (), "one of another size"
    assert mended({**whole, 1: Part(2, 100, 100, 0)}, 300) == (), "another's record"
    assert mended(whole, 0) == (), "records of a file that is not there"
    assert mended(whole, 2**62) == (), "more parts than anybody makes"


def put(store, records, *, size_bytes):
    """A download in a store; its folder of blobs."""
    blobs = store / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    (blobs / f"{BLOB}-partial").write_bytes(bytes(size_bytes))
    for number, text in records.items():
        (blobs / f"{BLOB}-partial-{number}").write_text(text)
    return blobs


def text(part):
    return part.written().decode()


def test_a_cut_record_is_written_anew_and_the_readable_ones_stay_as_they_are(tmp_path):
    whole = parts(250, 100, (100, 60, 50))
    cut = {0: text(whole[0]), 1: text(whole[1])[:9], 2: text(whole[2])}
    blobs = put(tmp_path, cut, size_bytes=250)
    mend_downloads(tmp_path, pause=lambda: None)
    told = {n: json.loads((blobs / f"{BLOB}-partial-{n}").read_text()) for n in range(3)}
    assert told[1] == {"N": 1, "Offset": 100, "Size": 100, "Completed": 0}
    assert [told[n]["Completed"] for n in (0, 2)] == [100, 50]
    assert (blobs / f"{BLOB}-partial").stat().st_size == 250


def test_where_nothing_can_be_told_the_download_is_begun_anew(tmp_path):
    blobs = put(tmp_path, {0: "", 1: "{"}, size_bytes=200)
    other = blobs / f"sha256-{'b' * 64}-partial"
    other.write_bytes(b"x")
    mend_downloads(tmp_path, pause=lambda: None)
    assert list(blobs.iterdir()) == [other]


def test_what_changes_while_it_is_looked_at_is_somebody_elses_and_left_alone(tmp_path):
    blobs = put(tmp_path, {0: "", 1: text(parts(200, 100)[1])}, size_bytes=200)

    def goes_on():
        (blobs / f"{BLOB}-partial").write_bytes(b"y" * 201)

    mend_downloads(tmp_path, pause=goes_on)
    assert (blobs / f"{BLOB}-partial-0").read_text() == ""


def test_a_download_in_order_is_not_looked_at_twice(tmp_path):
    def pause():
        raise AssertionError("there is nothing to wait for")

    mend_downloads(tmp_path / "none", pause=pause)
    whole = parts(250, 100, (100, 60))
    put(tmp_path, {n: text(part) for n, part in whole.items()}, size_bytes=250)
    mend_downloads(tmp_path, pause=pause)
