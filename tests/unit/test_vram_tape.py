from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from ollama_fleet.vram.graph.arena import Arena
from ollama_fleet.vram.graph.tape import Tape

SIZES = st.integers(1, 2000)


@settings(max_examples=50)
@given(st.lists(st.tuples(SIZES, st.booleans(), st.integers(0, 20)), max_size=60))
def test_pieces_in_use_never_overlap_and_holes_are_joined(moves):
    arena, used = Arena(), []
    for size, frees, which in moves:
        if frees and used:
            arena.give(*used.pop(which % len(used)))
        else:
            used.append((arena.take(size), size))
        ends = [(start, start + -(-size // 32) * 32) for start, size in sorted(used)]
        assert all(before[1] <= after[0] for before, after in pairwise(ends))
        assert arena.peak_bytes >= max((end for _, end in ends), default=0)
    for piece in used:
        arena.give(*piece)
    peak = arena.peak_bytes
    assert arena.take(max(peak, 1)) == 0
    assert arena.peak_bytes == -(-max(peak, 1) // 32) * 32


@settings(max_examples=50)
@given(st.lists(st.tuples(SIZES, st.sets(st.integers(0, 40), max_size=3)), min_size=1, max_size=40))
def test_a_buffer_holds_what_is_alive_at_once_and_no_more_than_everything(steps):
    tape, sizes = Tape(), []
    for size, reads in steps:
        sizes.append(-(-size // 32) * 32)
        tape.new(size, *(read for read in reads if read < len(sizes) - 1))
    last = {read: at for at, (_, reads) in enumerate(steps) for read in sorted(reads) if read < at}
    alive = [
        sum(sizes[made] for made in range(at + 1) if last.get(made, len(steps)) >= at)
        for at in range(len(steps))
    ]
    assert max(alive) <= tape.peak_bytes() <= sum(sizes)


def test_elementwise_steps_take_nothing_where_nobody_else_reads_their_operand():
    tape = Tape()
    at = tape.new(3200)
    for _ in range(5):
        at = tape.over(at)
    assert tape.peak_bytes() == 3200
    tape.over(at)
    tape.over(at)  # two readers: neither may write over it while the other has not read it
    assert tape.peak_bytes() == 6400


def test_what_is_given_is_there_from_the_start_and_what_is_kept_to_the_end():
    tape = Tape()
    given_ = tape.given(320)
    kept = tape.kept(640)
    first = tape.new(32, given_)
    tape.new(320, first)
    assert kept != given_
    assert tape.peak_bytes() == 320 + 640 + 32


def test_a_result_lies_in_the_smallest_hole_that_holds_it():
    arena = Arena()
    offsets = [arena.take(size) for size in (96, 32, 64, 32)]
    arena.give(offsets[0], 96)
    arena.give(offsets[2], 64)
    assert arena.take(64) == offsets[2]
    assert arena.take(64) == offsets[0]
    assert arena.take(64) == 96 + 32 + 64 + 32
