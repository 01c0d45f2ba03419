"""PyPI's `openai`, as people install it, against a fleet."""

import json

import openai
import pytest
from talk import (
    ARGUMENTS,
    ASKED,
    BOTH_ASKED,
    EMBEDDER,
    HELLO,
    MODEL,
    NO_ARGUMENTS,
    SCHEMA,
    TEXTS,
    WEATHER,
    WITHOUT_TOOLS,
)

TOOLS = [
    {"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}},
    {"type": "function", "function": {"name": "get_time", "parameters": NO_ARGUMENTS}},
]
FLAT = [{"type": "function", "strict": None, **tool["function"]} for tool in TOOLS]  # of Responses
DEATH = f"runner_death:model={WITHOUT_TOOLS};after_tokens=3"


@pytest.fixture(scope="module")
def client(fleet):
    with openai.OpenAI(base_url=f"{fleet.base}/v1", api_key="none", max_retries=0) as made:
        yield made


class TestChat:
    def test_a_chat_is_the_same_whole_and_streamed(self, client):
        asked = {"model": MODEL, "messages": HELLO, "max_tokens": 5, "seed": 1}
        whole = client.chat.completions.create(**asked)
        assert whole.usage.completion_tokens == 5
        *chunks, last = client.chat.completions.create(
            **asked, stream=True, stream_options={"include_usage": True}
        )
        assert last.usage == whole.usage
        assert chunks[-1].choices[0].finish_reason == "length"
        said = "".join(chunk.choices[0].delta.content for chunk in chunks)
        assert said == whole.choices[0].message.content

    def test_a_call_arrives_parsed_and_its_answer_continues_the_chat(self, client):
        asked = client.chat.completions.create(model=MODEL, messages=ASKED, tools=TOOLS)
        (choice,) = asked.choices
        (call,) = choice.message.tool_calls
        assert choice.finish_reason == "tool_calls"
        assert call.function.name == "get_weather"
        assert json.loads(call.function.arguments) == ARGUMENTS
        result = {"role": "tool", "tool_call_id": call.id, "content": WEATHER}
        answer = client.chat.completions.create(
            model=MODEL, messages=[*ASKED, choice.message, result], tools=TOOLS, max_tokens=4
        )
        assert answer.choices[0].message.tool_calls is None
        assert answer.choices[0].message.content

    def test_calls_of_a_stream_add_up_by_their_indexes(self, client):
        with client.chat.completions.stream(
            model=MODEL, messages=BOTH_ASKED, tools=TOOLS
        ) as stream:
            kinds = {event.type for event in stream}
            (choice,) = stream.get_final_completion().choices
        assert "tool_calls.function.arguments.done" in kinds
        assert choice.finish_reason == "tool_calls"
        calls = [call.function for call in choice.message.tool_calls]
        assert [call.name for call in calls] == ["get_weather", "get_time"]
        assert [json.loads(call.arguments) for call in calls] == [ARGUMENTS, {}]


class TestResponses:
    def test_an_answer_is_the_same_whole_and_streamed(self, client):
        asked = {"model": MODEL, "input": "hello", "max_output_tokens": 5}
        whole = client.responses.create(**asked)
        assert whole.usage.output_tokens == 5
        events = list(client.responses.create(**asked, stream=True))
        said = "".join(e.delta for e in events if e.type == "response.output_text.delta")
        assert said == whole.output_text
        assert [event.sequence_number for event in events] == list(range(len(events)))
        assert events[-1].type == "response.completed"
        assert events[-1].response.output_text == said

    def test_a_call_arrives_parsed_and_its_answer_continues(self, client):
        asked = client.responses.create(model=MODEL, input=ASKED, tools=FLAT)
        (call,) = asked.output
        assert (call.type, call.name, json.loads(call.arguments)) == (
            "function_call",
            "get_weather",
            ARGUMENTS,
        )
        result = {"type": "function_call_output", "call_id": call.call_id, "output": WEATHER}
        answer = client.responses.create(
            model=MODEL, input=[*ASKED, call, result], tools=FLAT, max_output_tokens=4
        )
        assert [item.type for item in answer.output] == ["message"]
        assert answer.output_text

    def test_a_call_of_a_stream_adds_up_to_its_item(self, client):
        with client.responses.stream(model=MODEL, input=ASKED, tools=FLAT) as stream:
            events = list(stream)
            final = stream.get_final_response()
        given = [e.delta for e in events if e.type == "response.function_call_arguments.delta"]
        (call,) = final.output
        assert "".join(given) == call.arguments
        assert json.loads(call.arguments) == ARGUMENTS


class TestModels:
    def test_models_are_listed_and_found(self, client):
        assert MODEL in [m.id for m in client.models.list()]
        assert client.models.retrieve(MODEL).owned_by == "library"

    @pytest.mark.parametrize("coding", ["float", "base64"])
    def test_a_batch_is_embedded_in_its_order(self, client, coding):
        def embedded(given):
            return client.embeddings.create(
                model=EMBEDDER, input=given, encoding_format=coding
            ).data

        batch = embedded(TEXTS)
        assert [row.index for row in batch] == list(range(len(TEXTS)))
        assert [row.embedding for row in batch] == [embedded(text)[0].embedding for text in TEXTS]


class TestErrors:
    def test_an_unknown_model_is_not_found(self, client):
        for asked in (
            lambda: client.chat.completions.create(model="nope", messages=HELLO),
            lambda: client.responses.create(model="nope", input="hello"),
            lambda: client.embeddings.create(model="nope", input="hello"),
            lambda: client.models.retrieve("nope"),
        ):
            with pytest.raises(openai.NotFoundError, match="nope") as refused:
                asked()
            assert refused.value.type == "not_found_error"

    def test_what_cannot_be_answered_is_a_bad_request(self, client):
        for asked, why in (
            (lambda: client.chat.completions.create(model=MODEL, messages=[]), "too short"),
            (
                lambda: client.chat.completions.create(
                    model=WITHOUT_TOOLS, messages=ASKED, tools=TOOLS
                ),
                "does not support tools",
            ),
            (
                lambda: client.responses.create(model=WITHOUT_TOOLS, input="x", tools=FLAT),
                "does not support tools",
            ),
            (lambda: client.embeddings.create(model=EMBEDDER, input=""), "invalid input"),
        ):
            with pytest.raises(openai.BadRequestError, match=why) as refused:
                asked()
            assert refused.value.type == "invalid_request_error"

    def test_a_chat_whose_runner_dies_raises_instead_of_just_ending(self, client, broken_fleet):
        """One Ollama would end as if all were said; the fleet's error event says otherwise."""
        broken_fleet.strike(DEATH)
        heard = []
        stream = client.chat.completions.create(
            model=WITHOUT_TOOLS, messages=HELLO, stream=True, max_tokens=20_000
        )
        with pytest.raises(openai.APIError):
            heard.extend(stream)
        assert len(heard) >= 3

    def test_a_response_whose_runner_dies_ends_with_an_error_event(self, client, broken_fleet):
        """This dialect's clients are handed the event: it is not for the library to raise."""
        broken_fleet.strike(DEATH)
        asked = {"model": WITHOUT_TOOLS, "input": "hello", "max_output_tokens": 20_000}
        events = list(client.responses.create(**asked, stream=True))
        assert events[-1].type == "error"
        assert events[-1].message
        with client.responses.stream(**asked) as stream, pytest.raises(RuntimeError):
            stream.get_final_response()
