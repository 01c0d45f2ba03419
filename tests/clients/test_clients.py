"""Clients as people install them, unchanged, against a fleet."""

import asyncio

import anthropic
import ollama
import openai
import pytest

MODEL = "llama3.1:8b"
EMBEDDER = "nomic-embed-text"
HELLO = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def native(fleet):
    client = ollama.Client(host=fleet)
    yield client
    client._client.close()  # it has no other way


@pytest.fixture(scope="module")
def openai_client(fleet):
    with openai.OpenAI(base_url=f"{fleet}/v1", api_key="none", max_retries=0) as client:
        yield client


def test_ollama_lists_what_one_server_would_list(native):
    names = [m.model for m in native.list().models]
    assert MODEL in names
    assert len(names) == len(set(names))


def test_ollama_chats_whole_and_streamed(native):
    whole = native.chat(MODEL, HELLO, options={"num_predict": 6})
    assert whole.done
    assert whole.eval_count == 6
    records = list(native.chat(MODEL, HELLO, stream=True, options={"num_predict": 6}))
    assert [r.done for r in records] == [False] * 6 + [True]
    assert all(r.model == MODEL for r in records)


def test_ollama_generates_and_shows_what_is_loaded(native):
    assert native.generate(MODEL, "hello", options={"num_predict": 3}).response
    assert native.show(MODEL).details.format == "gguf"
    assert native.ps().models


def test_ollama_embeds_a_batch(native):
    assert len(native.embed(EMBEDDER, ["a", "b", "c"]).embeddings) == 3


def test_ollama_pulls_with_progress_and_says_what_does_not_exist(native):
    statuses = [p.status for p in native.pull("llama3.1:8b", stream=True)]
    assert statuses[-1] == "success"
    with pytest.raises(ollama.ResponseError):
        list(native.pull("no-such-model-xyz", stream=True))


def test_ollama_is_told_of_an_unknown_model_in_ollamas_words(native):
    with pytest.raises(ollama.ResponseError, match="model 'nope' not found") as refused:
        native.chat("nope", HELLO)
    assert refused.value.status_code == 404


def test_ollama_async_abandons_a_stream_without_harm(fleet):
    async def run():
        client = ollama.AsyncClient(host=fleet)
        stream = await client.chat(MODEL, HELLO, stream=True, options={"num_predict": 500})
        async for _ in stream:
            break
        await stream.aclose()
        answer = await client.chat(MODEL, HELLO, options={"num_predict": 2})
        await client._client.aclose()
        return answer

    assert asyncio.run(run()).eval_count == 2


def test_openai_chats_whole_and_streamed(openai_client):
    answer = openai_client.chat.completions.create(model=MODEL, messages=HELLO, max_tokens=5)
    assert answer.usage.completion_tokens == 5
    chunks = list(
        openai_client.chat.completions.create(
            model=MODEL,
            messages=HELLO,
            max_tokens=5,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert chunks[-1].usage.completion_tokens == 5
    assert chunks[-2].choices[0].finish_reason == "length"


def test_openai_lists_embeds_and_answers_responses(openai_client):
    assert MODEL in [m.id for m in openai_client.models.list()]
    assert openai_client.models.retrieve(MODEL).owned_by == "library"
    assert len(openai_client.embeddings.create(model=EMBEDDER, input=["a", "b"]).data) == 2
    assert openai_client.responses.create(model=MODEL, input="hello").output_text


def test_openai_raises_its_own_error_classes(openai_client):
    with pytest.raises(openai.NotFoundError, match="nope"):
        openai_client.chat.completions.create(model="nope", messages=HELLO)


def test_anthropic_answers_whole_and_streamed(fleet):
    with anthropic.Anthropic(base_url=fleet, api_key="none", max_retries=0) as client:
        answer = client.messages.create(model=MODEL, max_tokens=5, messages=HELLO)
        assert answer.usage.output_tokens == 5
        with client.messages.stream(model=MODEL, max_tokens=5, messages=HELLO) as stream:
            assert "".join(stream.text_stream)
            assert stream.get_final_message().stop_reason == "max_tokens"
        with pytest.raises(anthropic.NotFoundError, match="nope"):
            client.messages.create(model="nope", max_tokens=5, messages=HELLO)
