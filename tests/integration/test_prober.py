"""The client and the prober against servers of every kind, over real sockets."""

import asyncio
import gzip
import json
import os
import signal
import threading
import time
from contextlib import aclosing, asynccontextmanager

import pytest
from control_fixtures import PROGRAM, launcher, no_files, until

from ollama_fleet import ollama
from ollama_fleet.bench.ports import free_port
from ollama_fleet.config import SupervisionConfig
from ollama_fleet.control.prober import Prober
from ollama_fleet.errors import CallNotMade, OllamaError
from ollama_fleet.gpu import GpuSample
from ollama_fleet.names import canonical
from ollama_fleet.ollama import Ollama, new_session
from ollama_fleet.placement import InstanceSpec, Placement
from ollama_fleet.state import Health, Phase, State

OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"
SILENT = r"in 0\.2s"
STREAM = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def ok(body):
    return OK % (len(body), body)


def chunk(**record):
    line = json.dumps(record).encode() + b"\n"
    return b"%x\r\n%s\r\n" % (len(line), line)


class Server:
    """Answers each request with the next script: bytes, or a coroutine function that writes."""

    def __init__(self, *scripts):
        self.scripts, self.requests = list(scripts), []
        self.closed = asyncio.Event()

    async def serve(self, reader, writer):
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = [h for h in head.lower().split(b"\r\n") if h.startswith(b"content-length")]
                body = await reader.readexactly(int(length[0].split(b":")[1]) if length else 0)
                self.requests.append((head, body))
                script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
                if isinstance(script, bytes):
                    writer.write(script)
                else:
                    await script(reader, writer)
                await writer.drain()
                if writer.is_closing():
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.closed.set()
            writer.close()


@asynccontextmanager
async def serving(*scripts):
    server = Server(*scripts)
    listener = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    async with new_session() as session:
        try:
            yield Ollama(session, url), server
        finally:
            listener.close()


async def hang(reader, _writer):
    """Answer nothing until the client has left."""
    await reader.read()


async def vanish(_reader, writer):
    writer.transport.abort()


def test_the_api_is_read_and_its_connection_used_again():
    async def scenario():
        tags = {"models": [{"name": "m:latest", "size": 3, "digest": "d", "details": {}}]}
        ps = {"models": [{"name": "m:latest", "size": 3, "size_vram": 2, "expires_at": "x"}]}
        answers = [{"version": "0.20.0"}, tags, ps, {"details": {}}]
        scripts = [ok(json.dumps(answer).encode()) for answer in answers]
        async with serving(*scripts) as (client, server):
            assert await client.version() == "0.20.0"
            assert [m.key for m in await client.tags()] == [canonical("m")]
            assert [m.vram_bytes for m in await client.ps()] == [2]
            assert await client.show("m") == {"details": {}}
            assert not server.closed.is_set()
            assert server.requests[3][1] == b'{"model": "m"}'
            assert b"identity" in server.requests[0][0]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "script",
    [
        hang,
        vanish,
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nContent-Length: 11\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 500 Oops\r\nContent-Length: 5\r\n\r\n",
        STREAM + b"zz\r\n",
        STREAM + b"5\r\n{}",
        ok(b"not json"),
        ok(b"[1]"),
        ok(b'{"version": 7}'),
        b"HTTP/1.1 100 Continue\r\n\r\n" * 100 + ok(b"{}"),
        ok(gzip.compress(b'{"version": "1"}')).replace(
            b"200 OK", b"200 OK\r\nContent-Encoding: gzip"
        ),
        ok(b'{"version": "1", "models": [], "x": "' + b"x" * 300_000 + b'"}'),
    ],
    ids=lambda script: script.__name__ if callable(script) else repr(script[:60]),
)
def test_whatever_a_server_does_is_an_error_of_ollamas(monkeypatch, script):
    """And comes within the deadline, and takes no more memory than allowed."""
    monkeypatch.setattr(ollama, "_LISTING_BYTES", 100_000)

    async def scenario():
        async with serving(script) as (client, _):
            for call in (client.version, client.tags):
                began_s = time.monotonic()
                with pytest.raises(OllamaError) as raised:
                    await call(timeout_s=0.3)
                assert str(raised.value).isprintable()
                assert time.monotonic() - began_s < 10

    asyncio.run(scenario())


def test_a_long_list_is_read_beside_the_loop_which_has_others_to_serve(monkeypatch):
    threads = []

    def reads(answer):
        threads.append(threading.get_ident())
        return ollama.answers.stored_models(answer)

    async def scenario():
        lists = [{"models": [{"name": f"m{n}"} for n in range(many)]} for many in (3, 20_000)]
        async with serving(*(ok(json.dumps(each).encode()) for each in lists)) as (client, _):
            assert [len(await client.tags()) for _ in lists] == [3, 1000]
        assert threads[0] == threading.get_ident() != threads[1]

    monkeypatch.setattr(ollama, "stored_models", reads)
    asyncio.run(scenario())


def test_a_redirect_is_not_followed():
    """It could lead anywhere."""
    away = b"HTTP/1.1 302 Found\r\nLocation: /api/version\r\nContent-Length: 0\r\n\r\n"

    async def scenario():
        async with serving(away, ok(b'{"version": "1"}')) as (client, server):
            with pytest.raises(OllamaError) as raised:
                await client.version()
            assert raised.value.status == 302
            assert len(server.requests) == 1

    asyncio.run(scenario())


def test_nobody_listening_is_an_error_with_its_cause():
    async def scenario():
        async with new_session() as session:
            with pytest.raises(OllamaError, match="Connect call failed") as raised:
                await Ollama(session, "http://127.0.0.1:1").version()
            assert raised.value.status == 0

    asyncio.run(scenario())


def test_a_call_for_which_we_have_no_file_left_says_nothing_of_who_was_to_be_called():
    async def scenario():
        async with new_session() as session:
            client = Ollama(session, "http://127.0.0.1:9")
            with no_files(), pytest.raises(CallNotMade, match="was not called"):
                await client.version(timeout_s=20)

    asyncio.run(scenario())


def test_a_proxy_in_the_environment_is_not_for_us(monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.delenv("NO_PROXY", raising=False)

    async def scenario():
        async with serving(ok(b'{"version": "1"}')) as (client, _):
            assert await client.version() == "1"

    asyncio.run(scenario())


def test_a_load_names_the_model_and_nothing_else():
    """No keep_alive: how long it stays is the instance's own setting."""

    async def scenario():
        async with serving(ok(b'{"done": true}')) as (client, server):
            await client.load("m", timeout_s=20)
            head, body = server.requests[0]
            assert head.startswith(b"POST /api/generate ")
            assert json.loads(body) == {"model": "m"}

    asyncio.run(scenario())


def test_a_model_that_cannot_generate_is_loaded_by_an_embedding():
    no = b'{"error":"\\"m\\" does not support generate"}'
    refused = b"HTTP/1.1 400 No\r\nContent-Length: %d\r\n\r\n%s" % (len(no), no)

    async def scenario():
        async with serving(refused, ok(b'{"embeddings": []}')) as (client, server):
            await client.load("m", timeout_s=20)
            assert server.requests[1][0].startswith(b"POST /api/embed ")
        async with serving(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n") as (client, server):
            with pytest.raises(OllamaError) as raised:
                await client.load("m", timeout_s=20)
            assert raised.value.status == 404
            assert len(server.requests) == 1

    asyncio.run(scenario())


async def pulled(client, **options):
    async with aclosing(client.pull("m", **options)) as records:
        return [record async for record in records]


def test_a_pull_ends_with_success():
    good = STREAM + chunk(status="pulling manifest") + chunk(status="success") + b"0\r\n\r\n"

    async def scenario():
        async with serving(good) as (client, server):
            records = await pulled(client, insecure=True)
            assert [r["status"] for r in records] == ["pulling manifest", "success"]
            wanted = {"model": "m", "insecure": True, "stream": True}
            assert json.loads(server.requests[0][1]) == wanted

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("script", "reason", "status"),
    [
        (STREAM + chunk(status="a") + chunk(error="no such host") + b"0\r\n\r\n", "such host", 500),
        (STREAM + chunk(status="a") + b"0\r\n\r\n", "connection was lost", 0),
        (STREAM + b"3\r\nxx\n\r\n", "not JSON", 0),
        (STREAM + b"%x\r\n" % 400_000 + b"x" * 400_000, "no answer", 0),
        (b"HTTP/1.1 400 No\r\nContent-Length: 15\r\n\r\n" + b'{"error":"bad"}', "bad", 400),
        (STREAM + chunk(status="a"), SILENT, 0),
        (vanish, "no answer", 0),
    ],
)
def test_a_pull_without_success_is_an_error(script, reason, status):
    """An error record, an end, a cut, junk, silence: HTTP status 200 means nothing here."""

    async def scenario():
        async with serving(script) as (client, _):
            with pytest.raises(OllamaError, match=reason) as raised:
                await pulled(client, idle_s=0.2 if reason in (SILENT, "no answer") else 20.0)
            assert raised.value.status == status

    asyncio.run(scenario())


def test_closing_the_records_of_a_pull_closes_its_connection():
    """That is what stops the download."""

    async def scenario():
        async with serving(STREAM + chunk(status="pulling manifest")) as (client, server):
            async with aclosing(client.pull("m")) as records:
                await anext(records)
                assert not server.closed.is_set()
            async with asyncio.timeout(20):
                await server.closed.wait()

    asyncio.run(scenario())


@asynccontextmanager
async def probed(url):
    """An external instance under a prober."""
    spec = InstanceSpec("a", "g", "127.0.0.1", 1, 1, "/store", external=True, url=url)
    state = State(Placement((spec,)))

    async def no_gpus():
        return GpuSample()

    async with (
        new_session() as session,
        Prober(
            state,
            lambda _: Ollama(session, url),
            SupervisionConfig(probe_interval_s=0.1, probe_timeout_s=0.3),
            clock=time.monotonic,
            read_gpus=no_gpus,
        ),
    ):
        yield state.instances["a"]


def test_an_external_server_is_followed_through_hang_and_return(tmp_path):
    """Stopped it is out of the rotation, continued it is back, and what it has is known."""

    async def scenario():
        address = f"127.0.0.1:{free_port()}"
        async with launcher(tmp_path) as start:
            async with probed(f"http://{address}") as instance:
                await until(
                    lambda: instance.phase is Phase.BACKOFF, "the news that nobody is there"
                )
                child = start.start("a", PROGRAM, {"OLLAMA_HOST": address})
                await until(lambda: instance.healthy and instance.stored, "a server that is known")
                assert instance.version == "0.20.0"
                assert instance.health is Health.HEALTHY
                os.kill(child.pid, signal.SIGSTOP)
                await until(lambda: instance.phase is Phase.BACKOFF, "the news of the hang")
                assert "no answer" in instance.cause
                os.kill(child.pid, signal.SIGCONT)
                await until(lambda: instance.healthy, "its return")
            await child.stop(5)

    asyncio.run(scenario())
