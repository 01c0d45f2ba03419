"""PyPI's `anthropic`, as people install it, against a fleet."""

import anthropic
import pytest
from talk import (
    ARGUMENTS,
    ASKED,
    BOTH_ASKED,
    HELLO,
    MODEL,
    NO_ARGUMENTS,
    SCHEMA,
    WEATHER,
    WITHOUT_TOOLS,
)

TOOLS = [
    {"name": "get_weather", "input_schema": SCHEMA},
    {"name": "get_time", "input_schema": NO_ARGUMENTS},
]


@pytest.fixture(scope="module")
def client(fleet):
    with anthropic.Anthropic(base_url=fleet.base, api_key="none", max_retries=0) as made:
        yield made


def test_a_message_is_the_same_whole_and_streamed(client):
    asked = {"model": MODEL, "max_tokens": 5, "messages": HELLO, "system": "Be brief."}
    whole = client.messages.create(**asked)
    assert whole.usage.output_tokens == 5
    with client.messages.stream(**asked) as stream:
        said = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert said == whole.content[0].text == final.content[0].text
    assert (final.stop_reason, final.usage.output_tokens) == ("max_tokens", 5)


def test_a_call_arrives_parsed_and_its_answer_continues_the_conversation(client):
    asked = client.messages.create(model=MODEL, max_tokens=100, messages=ASKED, tools=TOOLS)
    (call,) = asked.content
    assert asked.stop_reason == "tool_use"
    assert (call.type, call.name, call.input) == ("tool_use", "get_weather", ARGUMENTS)
    history = [
        *ASKED,
        {"role": "assistant", "content": asked.content},
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": call.id, "content": WEATHER}],
        },
    ]
    answer = client.messages.create(model=MODEL, max_tokens=4, messages=history, tools=TOOLS)
    assert [block.type for block in answer.content] == ["text"]


def test_calls_of_a_stream_add_up_to_their_blocks(client):
    with client.messages.stream(
        model=MODEL, max_tokens=100, messages=BOTH_ASKED, tools=TOOLS
    ) as stream:
        pieces = [event.partial_json for event in stream if event.type == "input_json"]
        final = stream.get_final_message()
    assert final.stop_reason == "tool_use"
    assert [(b.name, b.input) for b in final.content] == [
        ("get_weather", ARGUMENTS),
        ("get_time", {}),
    ]
    assert len({block.id for block in final.content}) == len(pieces) == 2


def test_an_unknown_model_is_not_found(client):
    with pytest.raises(anthropic.NotFoundError, match="nope") as refused:
        client.messages.create(model="nope", max_tokens=5, messages=HELLO)
    assert refused.value.body["error"]["type"] == "not_found_error"


def test_what_cannot_be_answered_is_a_bad_request(client):
    with pytest.raises(anthropic.BadRequestError, match="does not support tools"):
        client.messages.create(model=WITHOUT_TOOLS, max_tokens=5, messages=ASKED, tools=TOOLS)
    with pytest.raises(anthropic.BadRequestError, match="messages is required"):
        client.messages.create(model=MODEL, max_tokens=5, messages=[])


def test_a_stream_whose_runner_dies_raises_instead_of_just_ending(client, broken_fleet):
    """One Ollama would end it as if all were said: the fleet's error event says what was not."""
    broken_fleet.strike(f"runner_death:model={WITHOUT_TOOLS};after_tokens=3")
    with (
        pytest.raises(anthropic.APIError),
        client.messages.stream(model=WITHOUT_TOOLS, max_tokens=20_000, messages=HELLO) as stream,
    ):
        stream.until_done()
