"""The slots of a loaded model."""

from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.sim.ollama.slots import SlotPool


def enter(pool, owner, text):
    pool.enter(owner, list(text))
    return pool.grant()


def test_the_first_in_the_queue_comes_first():
    pool = SlotPool(1)
    first = enter(pool, 1, "a")
    assert enter(pool, 2, "b") is None
    pool.enter(3, ["c"])
    pool.give_back(first.slot, ["a"], 1.0)
    assert pool.grant().owner == 2


def test_who_leaves_the_queue_is_never_granted():
    pool = SlotPool(1)
    first = enter(pool, 1, "a")
    pool.enter(2, ["b"])
    pool.enter(3, ["c"])
    pool.leave(2)
    pool.give_back(first.slot, ["a"], 1.0)
    assert pool.grant().owner == 3
    assert pool.waiting == 0


def test_a_conversation_finds_its_slot_again():
    """Among idle slots the one with the longest common prefix is taken."""
    pool = SlotPool(2)
    a, b = enter(pool, 1, "aaaaaaaa"), enter(pool, 2, "bbbbbbbb")
    pool.give_back(a.slot, list("aaaaaaaaxy"), 1.0)
    pool.give_back(b.slot, list("bbbbbbbbxy"), 2.0)
    again = enter(pool, 3, "aaaaaaaaxyz")
    assert (again.slot, again.cached_tokens) == (a.slot, 10)


def test_the_last_prompt_token_is_always_evaluated():
    pool = SlotPool(1)
    first = enter(pool, 1, "same")
    pool.give_back(first.slot, list("same"), 1.0)
    assert enter(pool, 2, "same").cached_tokens == 3


def test_a_short_match_does_not_hold_a_slot():
    """Up to a tenth of the prompt in common, the slot idle for longest is taken instead."""
    pool = SlotPool(2)
    a, b = enter(pool, 1, "a" * 20), enter(pool, 2, "b" * 20)
    pool.give_back(b.slot, ["b"] * 20, 1.0)
    pool.give_back(a.slot, ["a"] * 20, 2.0)
    assert enter(pool, 3, "aa" + "c" * 18).slot is b.slot
    pool.give_back(b.slot, [], 3.0)


def test_of_equal_matches_the_slot_idle_for_longest_is_taken():
    pool = SlotPool(2)
    a, b = enter(pool, 1, "same"), enter(pool, 2, "same")
    pool.give_back(b.slot, list("same"), 1.0)
    pool.give_back(a.slot, list("same"), 2.0)
    assert enter(pool, 3, "same").slot is b.slot


def test_without_caching_nothing_is_remembered():
    pool = SlotPool(1, caching=False)
    first = enter(pool, 1, "same")
    pool.give_back(first.slot, list("same"), 1.0)
    assert enter(pool, 2, "same").cached_tokens == 0


@given(st.integers(1, 4), st.lists(st.sampled_from(["enter", "back"]), max_size=60))
def test_never_more_grants_than_slots_and_all_in_order(count, steps):
    """Whatever the order of arrivals and ends, grants follow arrivals and are never too many."""
    pool, granted, held = SlotPool(count), [], []
    for number, step in enumerate(steps):
        if step == "enter":
            pool.enter(number, ["x"])
        elif held:
            pool.give_back(held.pop(0).slot, ["x"], float(number))
        while (grant := pool.grant()) is not None:
            held.append(grant)
            granted.append(grant.owner)
        assert len(held) <= count
        assert not (pool.waiting and len(held) < count)
    assert granted == sorted(granted)
