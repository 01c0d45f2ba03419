"""The parts in which a simulated Ollama downloads a blob, and the made-up blobs it downloads."""

from hypothesis import example, given
from hypothesis import strategies as st
from registry_standin.content import BLOCK_BYTES, MadeUp

from ollama_fleet.sim.ollama.remote import parts

SIZES = st.integers(0, 40_000_000_000)


@given(SIZES)
def test_the_parts_of_a_blob_are_the_blob(size):
    """One after another without a gap, each within Ollama's bounds but the last."""
    found = list(parts.divided(size))
    assert [part.number for part in found] == list(range(len(found)))
    offset = 0
    for part in found:
        assert part.offset == offset
        offset += part.size
    assert offset == size
    for part in found[:-1]:
        assert parts.SMALLEST_BYTES <= part.size <= parts.LARGEST_BYTES


def test_the_record_of_a_part_is_ollamas(tmp_path):
    """Byte for byte, so that either goes on where the other stopped."""
    blob = tmp_path / "sha256-00"
    parts.write(blob, parts.Part(0, 5, 10, 3))
    assert (tmp_path / "sha256-00-partial-0").read_text() == (
        '{"N":0,"Offset":5,"Size":10,"Completed":3}\n'
    )


def test_what_was_written_of_a_blob_is_read_again_and_then_forgotten(tmp_path):
    blob = tmp_path / "sha256-00"
    written = [parts.Part(n, 10 * n, 10, n) for n in range(12)]
    for part in written:
        parts.write(blob, part)
    found = parts.read(blob)
    assert sorted(found, key=lambda part: part.number) == written
    parts.forget(blob, found)
    assert list(tmp_path.iterdir()) == []


@example(3 * BLOCK_BYTES, 1, 0)
@given(st.integers(0, 3 * BLOCK_BYTES), st.integers(1, 2 * BLOCK_BYTES), st.integers(0, 5))
def test_made_up_bytes_are_the_same_however_they_are_read(offset, count, seed):
    """A range is what a whole reading has there, and ends where the blob ends."""
    content = MadeUp(seed, 2 * BLOCK_BYTES + 17)
    whole = _read(content, 0, content.size_bytes)
    assert len(whole) == content.size_bytes
    assert _read(content, offset, count) == whole[offset : offset + count]
    assert content.read(content.size_bytes, 1) == b""


def _read(content, offset, count):
    got = b""
    while count > len(got) and (piece := content.read(offset + len(got), count - len(got))):
        got += piece
    return got


def test_no_two_blocks_of_made_up_bytes_are_equal():
    content = MadeUp(1, 4 * BLOCK_BYTES)
    blocks = {content.read(n * BLOCK_BYTES, BLOCK_BYTES) for n in range(4)}
    assert len(blocks) == 4
