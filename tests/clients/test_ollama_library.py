"""PyPI's `ollama`, as people install it, against a fleet."""

import asyncio
import hashlib
from contextlib import asynccontextmanager

import ollama
import pytest
from fleet_process import until
from talk import (
    ARGUMENTS,
    ASKED,
    BOTH_ASKED,
    EMBEDDER,
    HELLO,
    MODEL,
    TEXTS,
    WEATHER,
    WITHOUT_TOOLS,
)

LONG = {"num_predict": 80_000}  # far more than any test waits for


def get_weather(city: str, days: int) -> str:
    """Say what the weather will be.

    Args:
      city: where
      days: from today
    """
    return f"{WEATHER}: {city}, {days}"


def get_time() -> str:
    """Say what time it is."""
    return "noon"


TOOLS = [get_weather, get_time]  # the library reads their signatures


@pytest.fixture(scope="module")
def client(fleet):
    with ollama.Client(host=fleet.base) as made:
        yield made


@asynccontextmanager
async def connected(fleet):
    async with ollama.AsyncClient(host=fleet.base) as made, asyncio.timeout(60):
        yield made


async def idle(fleet):
    """Wait until no request holds a slot anywhere."""
    while fleet.in_flight():
        await asyncio.sleep(0.02)


class TestModels:
    def test_the_list_is_what_one_server_would_list(self, client):
        names = [m.model for m in client.list().models]
        assert MODEL in names
        assert len(names) == len(set(names))

    def test_a_pull_tells_its_progress_and_what_does_not_exist(self, client):
        statuses = [p.status for p in client.pull(MODEL, stream=True)]
        assert statuses[-1] == "success"
        with pytest.raises(ollama.ResponseError, match="file does not exist"):
            list(client.pull("no-such-model-xyz", stream=True))

    def test_a_model_is_made_shown_copied_and_deleted(self, client):
        """Each change can be seen by the next call, whichever instance makes it."""
        made = client.create(
            "pirate", from_=MODEL, system="Arr.", parameters={"num_predict": 3}, stream=True
        )
        assert [p.status for p in made][-1] == "success"
        shown = client.show("pirate")
        assert "SYSTEM Arr." in shown.modelfile
        assert "tools" in shown.capabilities
        assert client.chat("pirate", HELLO).eval_count == 3
        assert client.copy("pirate", "captain").status == "success"
        assert {"pirate:latest", "captain:latest"} <= {m.model for m in client.list().models}
        for name in ("pirate", "captain"):
            assert client.delete(name).status == "success"
            with pytest.raises(ollama.ResponseError, match=f"model '{name}' not found"):
                client.show(name)

    def test_a_model_is_made_of_an_uploaded_file(self, client, tmp_path):
        """The upload and the create that names its digest meet in one store."""
        file = tmp_path / "weights.gguf"
        file.write_bytes(b"GGUF" + bytes(2_000_000))
        digest = client.create_blob(file)
        assert digest == f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"
        assert client.create("uploaded", files={"weights.gguf": digest}).status == "success"
        assert client.generate("uploaded", "hello", options={"num_predict": 2}).eval_count == 2
        client.delete("uploaded")

    def test_what_is_in_memory_is_listed_until_it_is_unloaded(self, client):
        """An unload reaches every instance that holds the model."""
        client.generate(WITHOUT_TOOLS, "hello", options={"num_predict": 1})
        until(lambda: _loaded(client, WITHOUT_TOOLS), what="the model in memory")
        assert client.generate(WITHOUT_TOOLS, keep_alive=0).done_reason == "unload"
        until(lambda: not _loaded(client, WITHOUT_TOOLS), what="the model unloaded")


def _loaded(client, name):
    return [m for m in client.ps().models if m.model == name]


class TestTalk:
    def test_a_chat_is_the_same_whole_and_streamed(self, client):
        options = {"num_predict": 6, "seed": 1}
        whole = client.chat(MODEL, HELLO, options=options)
        assert whole.done
        assert whole.eval_count == 6
        records = list(client.chat(MODEL, HELLO, stream=True, options=options))
        assert [r.done for r in records] == [False] * 6 + [True]
        assert all(r.model == MODEL for r in records)
        assert "".join(r.message.content for r in records) == whole.message.content

    def test_a_batch_is_embedded_in_its_order(self, client):
        batch = client.embed(EMBEDDER, TEXTS).embeddings
        assert batch == [client.embed(EMBEDDER, text).embeddings[0] for text in TEXTS]
        assert len({tuple(vector) for vector in batch}) == len(set(TEXTS))

    def test_an_unknown_model_is_told_in_ollamas_words(self, client):
        with pytest.raises(ollama.ResponseError, match="model 'nope' not found") as refused:
            client.chat("nope", HELLO)
        assert refused.value.status_code == 404

    def test_a_stream_whose_runner_dies_raises_what_ollama_says(self, client, broken_fleet):
        broken_fleet.strike(f"runner_death:model={WITHOUT_TOOLS};after_tokens=3")
        heard = []
        with pytest.raises(ollama.ResponseError, match="unexpected EOF"):
            heard.extend(client.chat(WITHOUT_TOOLS, HELLO, stream=True, options=LONG))


class TestTools:
    def test_a_call_arrives_parsed_and_its_answer_continues_the_chat(self, client):
        asked = client.chat(MODEL, ASKED, tools=TOOLS)
        (call,) = asked.message.tool_calls
        assert (call.function.name, call.function.arguments) == ("get_weather", ARGUMENTS)
        result = get_weather(**call.function.arguments)
        history = [
            *ASKED,
            asked.message,
            {"role": "tool", "tool_name": call.function.name, "content": result},
        ]
        answer = client.chat(MODEL, history, tools=TOOLS, options={"num_predict": 4})
        assert answer.message.tool_calls is None
        assert answer.message.content

    def test_a_stream_brings_each_call_in_a_record_of_its_own(self, client):
        records = list(client.chat(MODEL, BOTH_ASKED, tools=TOOLS, stream=True))
        *called, last = records
        names = [[c.function.name for c in r.message.tool_calls] for r in called]
        assert names == [["get_weather"], ["get_time"]]
        assert last.done_reason == "stop"
        assert last.message.tool_calls is None

    def test_a_model_without_tools_says_so(self, client):
        with pytest.raises(ollama.ResponseError, match="does not support tools") as refused:
            client.chat(WITHOUT_TOOLS, ASKED, tools=TOOLS)
        assert refused.value.status_code == 400


class TestAsync:
    def test_it_streams_embeds_and_calls_tools_at_once(self, fleet):
        async def stream(client):
            parts = await client.chat(MODEL, HELLO, stream=True, options={"num_predict": 5})
            return [part.done async for part in parts]

        async def check():
            async with connected(fleet) as client:
                return await asyncio.gather(
                    stream(client),
                    client.embed(EMBEDDER, TEXTS),
                    client.chat(MODEL, ASKED, tools=TOOLS),
                )

        done, embedded, called = asyncio.run(check())
        assert done == [False] * 5 + [True]
        assert len(embedded.embeddings) == len(TEXTS)
        assert called.message.tool_calls[0].function.arguments == ARGUMENTS

    def test_an_abandoned_stream_frees_its_slot(self, fleet):
        """The connection is kept open by nothing but the stream; the client lives on."""

        async def check():
            async with connected(fleet) as client:
                await idle(fleet)
                stream = await client.chat(MODEL, HELLO, stream=True, options=LONG)
                async for _ in stream:
                    break
                assert list(fleet.in_flight().values()) == [1]
                await stream.aclose()
                await idle(fleet)
                return await client.chat(MODEL, HELLO, options={"num_predict": 2})

        assert asyncio.run(check()).eval_count == 2

    def test_a_cancelled_call_frees_its_slot_before_anything_came(self, fleet):
        async def check():
            async with connected(fleet) as client:
                await idle(fleet)
                calling = asyncio.create_task(client.chat(MODEL, HELLO, options=LONG))
                while not fleet.in_flight():
                    await asyncio.sleep(0.02)
                calling.cancel()
                await idle(fleet)
                with pytest.raises(asyncio.CancelledError):
                    await calling

        asyncio.run(check())
