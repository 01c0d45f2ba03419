"""What may be removed from a store, whatever lies there."""

import math

from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.control.stores.prunable import (
    Contents,
    Sort,
    Unneeded,
    freed_bytes,
    prunable,
)

DIGESTS = [f"sha256:{letter * 64}" for letter in "abcdef"]
NOW_S = 1_000.0


def file(sort=Sort.BLOB, digest=DIGESTS[0], *, name="", touched_s=0.0, inode=1, links=1, size=10):
    called = name or f"blobs/{digest.replace(':', '-')}"
    return Unneeded(called, sort, digest, size, touched_s, 0, (1, inode), links)


@st.composite
def stores(draw):
    """Any files, of any age; any of their digests named, and needed by who has them in memory."""
    count = draw(st.integers(0, 12))
    files = tuple(
        file(
            draw(st.sampled_from(Sort)),
            draw(st.sampled_from(DIGESTS)),
            name=f"blobs/{number}",
            touched_s=draw(st.sampled_from([0.0, NOW_S - 1, NOW_S, NOW_S + 1, math.inf])),
            inode=draw(st.integers(0, 3)),
            links=draw(st.integers(1, 3)),
        )
        for number in range(count)
    )
    named = frozenset(draw(st.sets(st.sampled_from(DIGESTS))))
    return Contents(files, named), draw(st.sets(st.sampled_from(DIGESTS)))


@given(stores())
def test_no_blob_goes_that_is_named_or_needed_and_nothing_that_was_touched_since(drawn):
    contents, needed = drawn
    gone = prunable(contents, before_s=NOW_S, needed=needed)
    assert set(gone) <= set(contents.files)
    assert all(f.touched_s < NOW_S for f in gone)
    assert not {f.digest for f in gone if f.sort is Sort.BLOB} & (contents.named | needed)


@given(stores())
def test_every_old_blob_goes_that_is_neither(drawn):
    contents, needed = drawn
    gone = {f.name for f in prunable(contents, before_s=math.inf, needed=needed)}
    kept = contents.named | needed
    alone = [f for f in contents.files if f.sort is Sort.BLOB and f.digest not in kept]
    young = {f.digest for f in alone if f.touched_s == math.inf}
    assert {f.name for f in alone if f.digest not in young} <= gone


@given(stores())
def test_of_a_download_all_files_go_or_none(drawn):
    contents, _ = drawn
    gone = set(prunable(contents, before_s=NOW_S))
    for digest in DIGESTS:
        parts = {f for f in contents.files if (f.sort, f.digest) == (Sort.DOWNLOAD, digest)}
        assert parts <= gone or not parts & gone


@given(stores())
def test_of_a_store_that_cannot_be_read_whole_nothing_goes(drawn):
    contents, _ = drawn
    unsure = Contents(contents.files, contents.named, ("manifests/x: not a manifest",))
    assert prunable(unsure, before_s=math.inf) == ()


def test_a_digest_is_the_same_in_capitals():
    contents = Contents((file(),), frozenset())
    assert prunable(contents, before_s=NOW_S, needed=[DIGESTS[0].upper()]) == ()
    assert prunable(contents, before_s=NOW_S)


def test_uploads_are_each_a_thing_of_its_own():
    old = file(Sort.UPLOAD, "", name="blobs/sha256-1")
    young = file(Sort.UPLOAD, "", name="blobs/sha256-2", touched_s=NOW_S)
    assert prunable(Contents((old, young)), before_s=NOW_S) == (old,)


def test_a_link_frees_its_bytes_only_with_all_its_names():
    one, other = file(name="a", links=2), file(name="b", links=2)
    alone = file(name="c", inode=2, size=5)
    assert freed_bytes([one, alone]) == 5
    assert freed_bytes([one, other, alone]) == 15
    assert freed_bytes([]) == 0
