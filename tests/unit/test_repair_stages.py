"""Which step of a repair may be taken, and whether it is enough."""

from hypothesis import given, settings
from hypothesis import strategies as st

from ollama_fleet.control.repair.stages import Stage, Taken, recent, suffices, wait_s

COOLDOWN_S = 600.0
past = st.lists(st.builds(Taken, st.sampled_from(Stage), st.floats(-5000, 5000)), max_size=8)


@settings(max_examples=50)
@given(past, st.sampled_from(Stage))
def test_a_step_is_enough_unless_it_was_taken_within_the_cooldown(before, stage):
    lately = [t for t in before if t.stage is stage and 5000 - t.at_s < COOLDOWN_S]
    assert suffices(stage, before, 5000, COOLDOWN_S) == (not lately)


@settings(max_examples=50)
@given(past)
def test_two_restarts_are_a_cooldown_apart_and_nothing_else_ever_waits(before):
    wait = wait_s(Stage.RESTART, before, 5000, COOLDOWN_S)
    assert 0 <= wait <= COOLDOWN_S
    for taken in before:
        if taken.stage is Stage.RESTART:
            assert 5000 + wait - taken.at_s >= COOLDOWN_S - 1e-6
    assert wait_s(Stage.CANCEL, before, 5000, COOLDOWN_S) == 0
    assert wait_s(Stage.UNLOAD, before, 5000, COOLDOWN_S) == 0


@settings(max_examples=50)
@given(past)
def test_what_is_forgotten_changes_nothing(before):
    kept = recent(before, 5000, COOLDOWN_S)
    for stage in Stage:
        assert suffices(stage, kept, 5000, COOLDOWN_S) == suffices(stage, before, 5000, COOLDOWN_S)
        assert wait_s(stage, kept, 5000, COOLDOWN_S) == wait_s(stage, before, 5000, COOLDOWN_S)
