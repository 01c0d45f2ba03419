"""When an instance counts as hanging, on virtual time."""

from dataclasses import replace
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from ollama_fleet.control.repair.evidence import DOUBT, LONGEST_S, Look, Stillness, Work

AFTER_S = 60.0
STEP_S = 2.0
NOTHING = Work(0.0, 0.0)
STUCK = Look(0.0, starts=1, signs=5, busy=2, gpu_ratio=0.0, in_vram=True, work=NOTHING)


def seen(looks, step_s=STEP_S):
    """What it has come to after these, one every `step_s`."""
    stillness = Stillness()
    for number, look in enumerate(looks):
        stillness = stillness.after(replace(look, now_s=number * step_s))
    return stillness


def hang_at_s(look, most_s=10_000.0):
    """When one that goes on like that counts as hanging; None if never."""
    stillness = Stillness()
    for number in range(int(most_s / STEP_S)):
        stillness = stillness.after(replace(look, now_s=number * STEP_S))
        if stillness.hangs(AFTER_S):
            return number * STEP_S
    return None


def test_busy_slots_without_a_token_and_without_work_are_a_hang_after_the_time_set():
    assert hang_at_s(STUCK) == AFTER_S
    assert hang_at_s(replace(STUCK, gpu_ratio=None)) == AFTER_S


def test_a_prompt_however_long_is_no_hang_while_something_works_at_it():
    for working in (
        replace(STUCK, gpu_ratio=0.9),
        replace(STUCK, gpu_ratio=0.9, work=None),
        replace(STUCK, gpu_ratio=None, work=Work(1.0, 0.0)),
        replace(STUCK, gpu_ratio=None, work=Work(0.0, 50e6)),  # weights that do not fit into memory
        replace(STUCK, gpu_ratio=0.0, in_vram=False, work=Work(1.0, 0.0)),  # partly on the CPU
    ):
        assert hang_at_s(working) is None


def test_what_could_not_be_read_is_taken_for_work():
    assert hang_at_s(replace(STUCK, gpu_ratio=None, work=None)) is None
    assert hang_at_s(replace(STUCK, in_vram=False, work=None)) is None


def test_cpus_that_run_while_the_gpu_does_nothing_are_given_several_times_as_long():
    """A long input is cut into tokens on the CPU; a driver that waits in vain runs there, too."""
    spinning = replace(STUCK, work=Work(1.0, 0.0))
    assert hang_at_s(spinning) == DOUBT * AFTER_S


def test_quiet_cpus_prove_little_of_work_on_a_gpu_that_nobody_sees():
    """As on AMD, MIG slices, or a driver that cannot be read: a CPU sleeps while a GPU works."""
    unseen = replace(STUCK, gpu_ratio=None, blind=True)
    assert hang_at_s(unseen) == DOUBT * AFTER_S
    assert hang_at_s(replace(unseen, work=Work(1.0, 0.0))) is None


def test_nothing_is_held_against_an_idle_instance_a_load_or_clients_that_do_not_read():
    """Slots at work for clients that do not keep up are not among the busy ones."""
    assert hang_at_s(replace(STUCK, busy=0)) is None
    assert hang_at_s(replace(STUCK, loading=True)) is None


def test_clients_that_lose_patience_end_no_hang():
    """Whether others ask at once or later: what counts is the time that slots were busy in vain."""
    pattern = [STUCK, STUCK, STUCK, replace(STUCK, busy=0)]
    assert seen(pattern * 200).hangs(AFTER_S)


def test_a_pause_of_the_fleet_itself_is_no_evidence():
    """As after a suspend or SIGSTOP of the fleet: of the time between nothing is known."""
    assert seen([STUCK, STUCK], step_s=3600.0).still_s == LONGEST_S


looks = st.builds(
    Look,
    now_s=st.just(0.0),
    starts=st.integers(1, 2),
    signs=st.integers(0, 3),
    busy=st.integers(0, 3),
    loading=st.booleans(),
    gpu_ratio=st.none() | st.floats(0, 1),
    in_vram=st.booleans(),
    blind=st.booleans(),
    work=st.none() | st.builds(Work, st.floats(0, 4), st.floats(0, 1e9)),
)


@settings(max_examples=50)
@given(st.lists(looks, max_size=12), looks)
def test_whatever_went_before_a_sign_of_life_is_forgotten(before, look):
    """A token, an answer that ended, or another process."""
    stillness = seen(before)
    last = stillness.last
    alive = replace(look, now_s=1e3, signs=(last.signs if last else 0) + 1)
    assert stillness.after(alive) == Stillness(last=alive)


@settings(max_examples=50)
@given(st.lists(looks, min_size=2, max_size=12))
def test_no_more_time_is_held_against_it_than_its_slots_were_busy(history):
    stillness = seen(history)
    busy = sum(1 for a, b in pairwise(history) if a.busy and b.busy)
    assert stillness.still_s + stillness.doubtful_s <= busy * STEP_S


@settings(max_examples=50)
@given(st.lists(looks, max_size=12), st.floats(-1e9, 1e9))
def test_only_differences_of_time_count(history, shift_s):
    """The clock may begin anywhere."""
    there, here = Stillness(), Stillness()
    for number, look in enumerate(history):
        there = there.after(replace(look, now_s=float(number)))
        here = here.after(replace(look, now_s=number + round(shift_s)))
    assert (there.still_s, there.doubtful_s) == (here.still_s, here.doubtful_s)
