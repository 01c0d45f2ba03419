"""How much text a request brings and how it begins, read at once or in pieces."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.router.dialect import Dialect
from ollama_fleet.router.intake import Scanner, inference, read_at_once, read_body
from ollama_fleet.router.intake.opening import BLOCK_BYTES, OPENING_BYTES, prefix, text_bytes

TEXTS = ("system", "instructions", "tools", "prompt", "messages", "input")
CAPS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
texts = st.text(max_size=3).map(lambda text: text * 400)
bodies = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(TEXTS, st.one_of(texts, st.lists(texts, max_size=3))),
        **dict.fromkeys(CAPS, st.one_of(st.integers(-5, 5000), st.floats(-9, 9), st.none())),
        "options": st.fixed_dictionaries({}, optional={"num_predict": st.integers(-2, 99)}),
    },
)


def told(fields):
    wanted = fields.wanted(stream_default=True)
    return wanted.prompt_bytes, wanted.prefix, wanted.num_predict, wanted.max_tokens


@given(bodies, st.integers(40, 4000))
def test_a_body_in_pieces_is_told_of_as_one_read_at_once(body, size):
    raw = json.dumps(body).encode()
    whole = read_at_once(raw)
    if whole is None:
        return
    scanner = Scanner()
    for at in range(0, len(raw), size):
        piece = raw[at : at + size]
        while not scanner.feed(piece):
            piece = b""
    assert told(scanner.fields()) == told(whole)


@given(st.binary(max_size=4000), st.binary(max_size=4000), st.binary(max_size=4000))
def test_prefixes_agree_in_just_the_blocks_that_texts_have_in_common(common, one, other):
    left, right = prefix(common + one), prefix(common + other)
    alike = 0
    for block in range(min(len(left), len(right))):
        end = (block + 1) * BLOCK_BYTES
        if (common + one)[:end] != (common + other)[:end]:
            break
        alike += 1
    assert left[:alike] == right[:alike]
    assert not set(left[alike:]) & set(right[alike:])
    assert alike >= len(common) // BLOCK_BYTES


def test_a_prefix_is_bounded_and_what_is_less_than_a_block_has_none():
    assert prefix(b"x" * (BLOCK_BYTES - 1)) == ()
    assert len(prefix(b"x" * 10 * OPENING_BYTES)) == OPENING_BYTES // BLOCK_BYTES


def test_a_conversation_that_goes_on_begins_as_it_began():
    turn = {"role": "user", "content": "all work and no play " * 60}
    first = json.dumps({"model": "m", "messages": [turn] * 2}).encode()
    second = json.dumps({"stream": False, "messages": [turn] * 3, "model": "m"}).encode()
    before, after = (read_body(b, stream_default=True).prefix for b in (first, second))
    assert len(after) > len(before)
    assert after[: len(before)] == before


def test_the_system_prompt_stands_first_wherever_it_is_written():
    system = "you are a lawyer " * 50
    one = json.dumps({"messages": ["a" * 900], "system": system}).encode()
    other = json.dumps({"system": system, "messages": ["b" * 900]}).encode()
    left, right = (read_body(b, stream_default=True).prefix for b in (one, other))
    assert left[0] == right[0]
    assert left[-1] != right[-1]


@pytest.mark.parametrize("size", [100, 5_000, 300_000])
def test_all_text_counts_as_it_is_written(size):
    body = json.dumps({"model": "m", "prompt": "x " * (size // 2), "system": "y"}).encode()
    assert read_body(body, stream_default=True).prompt_bytes == size + len('""') + len('"y"')


@pytest.mark.parametrize("size", [40_000, 2_000_000])
def test_pictures_are_no_text(size):
    picture = "iVBORw0KGgo" * (size // 11)
    message = {"role": "user", "content": "what is it?", "images": [picture]}
    body = json.dumps({"model": "m", "messages": [message]}).encode()
    assert read_body(body, stream_default=True).prompt_bytes < 200


def test_a_long_text_that_speaks_of_images_is_text():
    text = json.dumps("the image shows a cat " * 5000).encode()
    assert text_bytes(text, len(text)) == len(text)


@pytest.mark.parametrize("dialect", Dialect)
@pytest.mark.parametrize("cap", CAPS)
def test_each_api_has_its_own_way_to_say_how_many_tokens_may_come(dialect, cap):
    body = json.dumps({"model": "m", cap: 7, "options": {"num_predict": 9}}).encode()
    asked = inference("/x", dialect, body, read_body(body, stream_default=True))
    assert asked.output_cap == (9 if dialect is Dialect.OLLAMA else 7)


@pytest.mark.parametrize("value", [-1, -2, 0, 1e30, None, "5", True, [5]])
def test_a_cap_that_is_none_is_not_there(value):
    body = json.dumps({"options": {"num_predict": value}, "max_tokens": value}).encode()
    wanted = read_body(body, stream_default=True)
    assert wanted.num_predict == wanted.max_tokens == 0
