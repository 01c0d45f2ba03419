"""Which tools a simulated model calls, and what of an answer with calls a client sees when."""

import json

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.sim.ollama.calls import Tool, arguments, calling, named, spoken
from ollama_fleet.sim.ollama.text import Call, tokenise

NAMES = st.text("abcdef_-", min_size=1, max_size=8)
CALLS = st.builds(
    Call,
    id=st.just("call_x"),
    index=st.just(0),
    name=NAMES,
    arguments=st.dictionaries(NAMES, st.text() | st.integers() | st.just({"deep": "}{"})),
)


def objects(inner):
    """Schemas of objects with some of their properties required."""
    return st.dictionaries(NAMES, inner, max_size=3).flatmap(
        lambda properties: st.lists(st.sampled_from([*properties, "new"]), unique=True).map(
            lambda required: {"type": "object", "properties": properties, "required": required}
        )
    )


LEAVES = st.sampled_from(["string", "integer", "number", "boolean", "null"])
SCHEMAS = st.recursive(
    st.fixed_dictionaries({"type": LEAVES | st.lists(LEAVES, min_size=1, unique=True)})
    | st.fixed_dictionaries({"enum": st.lists(st.integers() | st.text(), min_size=1)}),
    lambda inner: (
        st.fixed_dictionaries({"type": st.just("array"), "items": inner})
        | st.fixed_dictionaries({"anyOf": st.lists(inner, min_size=1, max_size=2)})
        | objects(inner)
    ),
    max_leaves=6,
)


@given(objects(SCHEMAS))
def test_the_arguments_are_what_the_schema_allows_and_no_more_than_it_requires(schema):
    made = arguments(schema)
    jsonschema.validate(made, schema)
    assert list(made) == schema["required"]


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"required": "city"},
        {"required": ["a"], "properties": [1]},
        {"required": ["a", "b"], "properties": {"a": 1, "b": {"enum": {}, "anyOf": 2, "type": []}}},
    ],
)
def test_what_is_no_schema_makes_no_more_than_texts(schema):
    assert all(isinstance(value, str) for value in arguments(schema).values())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("what is the weather?", []),
        ("use get_weather!", ["get_weather"]),
        ("get_weather_soon is another tool's name, not-get_weather too", []),
        ("first time, then get_weather, then time", ["time", "get_weather"]),
    ],
)
def test_tools_are_called_that_are_named_as_whole_words_in_the_order_of_their_names(
    words, expected
):
    tools = [Tool("get_weather", {}), Tool("time", {}), Tool("", {})]
    assert [tool.name for tool in named(tools, words)] == expected


@given(st.lists(CALLS, min_size=1, max_size=3))
def test_a_call_is_complete_with_the_token_that_closes_its_object(calls):
    """Not a token earlier or later: there ends the one text that reads as this call."""
    answer = calling(calls, limit=0)
    said = ""
    for index in range(answer.tokens):
        before, said = said, said + answer.piece(index)
        if call := answer.calls.get(index):
            assert json.loads(_object(said)) == {"name": call.name, "arguments": call.arguments}
            with pytest.raises(ValueError, match="line"):
                json.loads(_object(before))


def _object(said):
    return said.rpartition("\n<tool_call>\n")[2].removesuffix("\n</")


@given(st.lists(CALLS, min_size=1, max_size=3), st.integers(1, 200))
def test_a_limit_cuts_an_answer_and_takes_the_calls_behind_it(calls, limit):
    whole, cut = calling(calls, limit=0), calling(calls, limit=limit)
    assert list(whole.calls.values()) == calls
    assert whole.ends_by_itself
    assert cut.tokens == min(limit, whole.tokens)
    assert cut.ends_by_itself == (limit > whole.tokens)
    assert cut.calls == {i: call for i, call in whole.calls.items() if i < limit}


@given(st.lists(CALLS, min_size=1, max_size=3))
def test_calls_sent_back_are_the_same_tokens(calls):
    """History that holds an answer's calls tokenises into that answer: caches hit."""
    answer = calling(calls, limit=0)
    pieces = [answer.piece(index) for index in range(answer.tokens)]
    history = "".join(spoken(call.name, call.arguments) for call in calls)
    prompt = "[user] x\n[assistant] "
    assert tokenise(f"{prompt}{history}\ny") == [*tokenise(prompt), *pieces, *tokenise("\ny")]
