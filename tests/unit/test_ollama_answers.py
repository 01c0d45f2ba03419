"""What an instance says is a record or an OllamaError, whatever it says."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.errors import OllamaError
from ollama_fleet.names import canonical
from ollama_fleet.ollama import decode, refusal, resident_models, stored_models

TEXT = st.text("am:/é\x1b\ud800\U0001f600", max_size=4)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 2**64) | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=3,
)
ROWS = st.fixed_dictionaries(
    {"name": st.just("m") | TEXT},
    optional={
        "size": st.integers(0, 9) | JSON,
        "size_vram": st.integers(0, 9) | JSON,
        "digest": TEXT | JSON,
        "details": JSON,
    },
)
ANSWERS = JSON | st.fixed_dictionaries({"models": st.lists(ROWS | JSON, max_size=3)})


def read(body):
    answer = decode(body)
    return *stored_models(answer), *resident_models(answer)


@given(ANSWERS.map(json.dumps).map(str.encode) | st.binary())
def test_any_answer_is_read_or_refused_and_never_anything_else(body):
    """What is read can be shown, compared and written again as JSON."""
    try:
        models = read(body)
    except OllamaError:
        return
    for model in models:
        assert model.name.isprintable()
        assert model.key == canonical(model.name)
        assert model.size_bytes >= 0
        json.dumps(dict(model.row), allow_nan=False, ensure_ascii=False).encode()


def models(**fields):
    return json.dumps({"models": [{"name": "m:latest", **fields}]}).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe{}",
        b"{}",
        b'{"models": 3}',
        b'{"models": {}}',
        b'{"models": ["m"]}',
        b'{"models": [{"size": 1}]}',
        b'{"models": [{"name": ""}]}',
        b'{"models": [{"name": "\\ud800"}]}',
        b'{"models": [{"name": "m", "details": {"family": "\\uDC00x"}}]}',
        b'{"models": [{"name": "m", "size": 1e999}]}',
        b'{"models": [{"name": "m", "x": NaN}]}',
        b'{"models": [{"name": "m", "x": -Infinity}]}',
        b'{"models": ' + b"[" * 200_000,
        b'{"models": [{"name": "m", "size": ' + b"9" * 5000 + b"}]}",
        models(name="m\x1b[2J"),
        models(name=["m"]),
        models(size=-1),
        models(size=True),
        models(size=1.5),
        models(size="1"),
        models(size=2**63),
        models(digest=7),
    ],
)
def test_lies_and_nonsense_are_refused(body):
    with pytest.raises(OllamaError):
        read(body)


def test_a_good_answer_is_read_field_by_field():
    row = {"name": "Qwen3:8B", "size": 5, "digest": "ab", "details": {"x": "\N{GRINNING FACE}"}}
    (stored,) = stored_models(decode(json.dumps({"models": [row]}).encode()))
    assert (stored.key, stored.name) == (canonical("qwen3:8b"), "Qwen3:8B")
    assert (stored.digest, stored.size_bytes, stored.row) == ("ab", 5, row)
    row = {"name": "m:latest", "size": 9, "size_vram": 4, "expires_at": "2026"}
    (resident,) = resident_models(decode(json.dumps({"models": [row]}).encode()))
    assert (resident.size_bytes, resident.vram_bytes, resident.expires_at) == (9, 4, "2026")


@pytest.mark.parametrize("answer", [{"models": None}, {"models": []}])
def test_no_models_is_a_good_answer(answer):
    assert stored_models(answer) == resident_models(answer) == ()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"error": "model \'x\' not found"}', "model 'x' not found"),
        (b'{"error": ""}', "answered with HTTP status 500"),
        (b"", "answered with HTTP status 500"),
        (b"<h1>Bad\r\nGateway\x1b[0m", "<h1>Bad  Gateway [0m"),
        (b'{"error": {"message": "no"}}', "{'message': 'no'}"),
    ],
)
def test_an_error_keeps_ollamas_words_and_status_as_one_plain_line(body, reason):
    error = refusal(500, body)
    assert (error.reason, error.status) == (reason, 500)
