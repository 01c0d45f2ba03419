import random
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from ollama_fleet.estimate import Cache, Prefixes


def prefix(text):
    """The hashes of a text whose blocks are its letters."""
    return tuple(hash(text[: n + 1]) for n in range(len(text)))


def test_a_prompt_that_goes_on_has_all_of_the_last_turn_cached():
    prefixes = Prefixes()
    prefixes.sent("i", "w", prefix("hello"), 1)
    assert prefixes.cached_blocks("i", "w", prefix("hello world")) == 5
    assert prefixes.cached_blocks("i", "w", prefix("help")) == 3
    assert prefixes.cached_blocks("i", "w", prefix("jello")) == 0
    assert prefixes.cached_blocks("j", "w", prefix("hello")) == 0
    assert prefixes.cached_blocks("i", "v", prefix("hello")) == 0
    assert prefixes.cached_blocks("i", "w", ()) == 0


def test_conversations_no_more_than_slots_do_not_push_one_another_out():
    prefixes = Prefixes()
    talks = ["a", "b", "c"]
    for turn in range(8):
        for talk in talks:
            said = talk * (turn + 1)
            assert prefixes.cached_blocks("i", "w", prefix(said)) == turn
            prefixes.sent("i", "w", prefix(said), 3)


def test_one_more_than_slots_takes_the_oldest():
    prefixes = Prefixes()
    for talk in ("aa", "bb", "cc"):
        prefixes.sent("i", "w", prefix(talk), 2)
    assert prefixes.cached_blocks("i", "w", prefix("aa")) == 0
    assert prefixes.cached_blocks("i", "w", prefix("bb")) == 2
    assert prefixes.cached_blocks("i", "w", prefix("cc")) == 2


def test_what_leaves_memory_leaves_its_cache():
    prefixes = Prefixes()
    for weights in ("v", "w"):
        prefixes.sent("i", weights, prefix("aa"), 2)
        prefixes.sent("j", weights, prefix("aa"), 2)
    prefixes.forget("i", "v")
    assert prefixes.cached_blocks("i", "v", prefix("aa")) == 0
    assert prefixes.cached_blocks("i", "w", prefix("aa")) == 2
    prefixes.forget("i")
    assert prefixes.cached_blocks("i", "w", prefix("aa")) == 0
    assert prefixes.cached_blocks("j", "w", prefix("aa")) == 2


texts = st.text(alphabet="ab", max_size=6)


@settings(max_examples=200, deadline=None)
@given(st.lists(texts, max_size=30), texts, st.integers(1, 4))
def test_it_promises_what_one_of_the_last_prompts_has_and_no_more(sent, asked, slots):
    """Never more than the longest agreement ever sent; all of it right after it was sent."""
    prefixes = Prefixes()
    for text in sent:
        prefixes.sent("i", "w", prefix(text), slots)
        assert prefixes.cached_blocks("i", "w", prefix(text)) == len(text)
    found = prefixes.cached_blocks("i", "w", prefix(asked))
    assert found <= max((agreement(text, asked) for text in sent), default=0)


def agreement(one, other):
    return next(
        (n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
        min(len(one), len(other)),
    )


@settings(max_examples=200, deadline=None)
@given(st.lists(texts.filter(bool), max_size=12), st.integers(1, 3))
def test_it_knows_the_blocks_of_the_prompts_it_holds_and_no_others(sent, slots):
    cache = Cache()
    for text in sent:
        cache.take(prefix(text), slots)
    assert cache.known == Counter(block for prompt in cache.prompts for block in prompt)


def test_it_never_remembers_more_prompts_than_slots():
    prefixes = Prefixes()
    rng = random.Random(1)
    for _ in range(500):
        prefixes.sent("i", "w", prefix("".join(rng.choices("abc", k=6))), 4)
    kept = sum(
        prefixes.cached_blocks("i", "w", prefix(f"{a}{b}{c}{d}{e}{f}")) == 6
        for a in "abc"
        for b in "abc"
        for c in "abc"
        for d in "abc"
        for e in "abc"
        for f in "abc"
    )
    assert 1 <= kept <= 4


@given(
    st.lists(
        st.tuples(
            st.sampled_from("ij"), st.sampled_from("vw"), st.text("ab", max_size=4), st.booleans()
        ),
        max_size=30,
    ),
    st.text("ab", min_size=1, max_size=3),
)
def test_a_prompt_has_begun_exactly_where_its_first_block_is_cached(calls, asked):
    prefixes = Prefixes()
    for instance, weights, text, forgets in calls:
        if forgets:
            prefixes.forget(instance, weights if text else None)
        else:
            prefixes.sent(instance, weights, prefix(text), 2)
    begun = prefixes.begun(prefix(asked))
    for instance in "ij":
        for weights in "vw":
            blocks = prefixes.cached_blocks(instance, weights, prefix(asked))
            cache = begun.get((instance, weights))
            assert (cache.agrees(prefix(asked)) if cache is not None else 0) == blocks
            assert (cache is not None) == (blocks > 0)
