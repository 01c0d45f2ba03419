"""A pull's body, read as Go's decoder reads it: so that every spelling joins the one download."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.api.pulling import PullOptions, read_options
from ollama_fleet.sim.ollama.api.schemas import PULL
from ollama_fleet.sim.ollama.golang.binding import BindingError, bind
from ollama_fleet.sim.ollama.golang.json import EmptyBodyError, SyntaxProblemError, decode


@pytest.mark.parametrize(
    ("body", "options"),
    [
        (b'{"model":"m"}', PullOptions("m")),
        (b'{"name":"m"}', PullOptions("m")),
        (b'{"model":"","name":"n"}', PullOptions("n")),
        (b'{"model":"m","name":"n"}', PullOptions("m")),
        (b'{"MODEL":"m","Insecure":true,"STREAM":false}', PullOptions("m", False, True)),
        (b'{"model":"m"} and more', PullOptions("m")),
        (b' \n{"model":"m"}', PullOptions("m")),
        (b'{"model":"a","model":"b","model":null}', PullOptions("b")),
        (b'{"\\u006dodel":"\\u006d"}', PullOptions("m")),
        (b'{"in\\u017fecure":true,"model":"m"}', PullOptions("m", True, True)),
        (b'{"model":"m","stream":false,"stream":null}', PullOptions("m")),
        (b'{"model":"m","insecure":true,"insecure":null}', PullOptions("m", True, True)),
        (b'{"model":"m","else":{"model":5}}', PullOptions("m")),
        (b'{"model":"\xff"}', PullOptions("\ufffd")),
        (b"null", PullOptions()),
        (b"{}", PullOptions()),
    ],
)
def test_what_ollama_takes_is_read_as_ollama_reads_it(body, options):
    assert read_options(body) == options


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[1]",
        b'"m"',
        b"5",
        b'{"model":5}',
        b'{"model":"m","stream":"yes"}',
        b'{"model":"m","insecure":1}',
        b'{"model":"m","username":false}',
        b'{"model":5,"model":"m"}',
        b'{"model":NaN}',
        b'{"model":"a\nb"}',
        b"[" * 100_000,
    ],
)
def test_what_ollama_refuses_is_left_to_ollama(body):
    assert read_options(body) is None


def test_a_body_that_is_not_in_memory_is_left_to_ollama():
    assert read_options(object()) is None


KEYS = st.sampled_from(["model", "Model", "name", "NAME", "stream", "Stream", "insecure", "other"])
VALUES = st.none() | st.booleans() | st.integers() | st.sampled_from(["", "m", "n:1"])


@given(st.lists(st.tuples(KEYS, VALUES | st.lists(VALUES))), st.sampled_from(["", " {", "\n"]))
def test_it_agrees_with_the_simulated_ollama(members, behind):
    """The simulated one reads bodies by the same rules, and is held to a real one's answers."""
    inside = ",".join(f"{json.dumps(key)}:{json.dumps(value)}" for key, value in members)
    body = f"{{{inside}}}{behind}".encode()
    try:
        fields = bind(decode(body), PULL)
    except (EmptyBodyError, SyntaxProblemError, BindingError):
        assert read_options(body) is None
        return
    streams = [value for key, value in members if key.lower() == "stream"]
    expected = PullOptions(
        fields.get("model") or fields.get("name") or "",
        True if streams and streams[-1] is None else fields.get("stream", True),
        fields.get("insecure", False),
    )
    assert read_options(body) == expected
