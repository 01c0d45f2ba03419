"""The only client of Ollama's HTTP API that *we* call.

router/relay passes clients' requests on without understanding them; api/merged answers for all
instances at once. What an instance says is not trusted: whatever it sends, a caller gets a record
or an `OllamaError`.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any, Final, TypeVar

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from ollama_fleet.errors import OUT_OF_SOCKETS, CallNotMade, OllamaError
from ollama_fleet.ollama.answers import (
    Record,
    decode,
    plain,
    plain_text,
    refusal,
    resident_models,
    rows_of,
    stored_models,
    unix_s,
)
from ollama_fleet.state import ResidentModel, StoredModel
from ollama_fleet.units import show_bytes

__all__ = [
    "ONLY_EMBEDS",
    "Ollama",
    "decode",
    "new_session",
    "refusal",
    "resident_models",
    "stored_models",
    "unix_s",
]

_LISTING_BYTES: Final = 4 * 2**20  # ten thousand models; what is longer is no list
_AT_ONCE_BYTES: Final = 2**17  # what is larger is read beside the loop, which has others to serve
_ERROR_BYTES: Final = 64 * 2**10
_ERROR_RECORD_STATUS: Final = 500  # as Ollama answers the same error to a pull that is no stream
ONLY_EMBEDS: Final = "does not support generate"  # what a model that only embeds is refused with

_Answer = TypeVar("_Answer")


def new_session() -> aiohttp.ClientSession:
    """Return a session for calls to instances: no proxy, no cookies, no limits but ours."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=30),
        timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Accept-Encoding": "identity"},
        auto_decompress=False,
        trust_env=False,
    )


class Ollama:
    """One instance. All methods raise OllamaError and nothing else; deadlines are in seconds."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str) -> None:
        self._session = session
        self._base_url = base_url

    async def version(self, *, timeout_s: float = 10.0) -> str:
        """Return its version; the cheapest sign of life."""
        version = plain_text(
            await self._call("GET", "/api/version", timeout_s=timeout_s), "version"
        )
        if not version:
            raise OllamaError("the answer has no `version`")
        return version

    async def tags(self, *, timeout_s: float = 10.0) -> tuple[StoredModel, ...]:
        """List the models in its store."""
        return await self._list("/api/tags", stored_models, timeout_s)

    async def ps(self, *, timeout_s: float = 12.0) -> tuple[ResidentModel, ...]:
        """List the models in its memory. A model that is being loaded is not among them.

        Slow while it loads or unloads: it waits for its runners' locks.
        """
        return await self._list("/api/ps", resident_models, timeout_s)

    async def show(self, name: str, *, timeout_s: float = 10.0) -> dict[str, Any]:
        """Return all that it knows of a model in its store."""
        return await self._call("POST", "/api/show", {"model": name}, timeout_s=timeout_s)

    async def load(
        self, name: str, options: Record = MappingProxyType({}), *, timeout_s: float
    ) -> None:
        """Load a model, with these options for its runner.

        How long it then stays is what the instance was started with.
        """
        try:
            await self.load_by("/api/generate", name, options, timeout_s=timeout_s)
        except OllamaError as error:
            if ONLY_EMBEDS not in error.reason:
                raise
            await self.load_by("/api/embed", name, options, timeout_s=timeout_s)

    async def load_by(self, path: str, name: str, options: Record, *, timeout_s: float) -> None:
        """Load a model by an empty request at that route, with these options for its runner."""
        wanted = {"model": name, "options": options} if options else {"model": name}
        await self._call("POST", path, wanted, timeout_s=timeout_s)

    async def one_token(
        self, name: str, options: Record, *, embeds: bool, timeout_s: float
    ) -> None:
        """Have a model give one token, or embed one; `options` are those that it runs with."""
        wanted = {"model": name, "options": {**options, "num_predict": 1}}
        path, asked = "/api/generate", {"prompt": "a", "raw": True, "stream": False}
        if embeds:
            path, asked = "/api/embed", {"input": "a"}
        await self._call("POST", path, {**wanted, **asked}, timeout_s=timeout_s)

    async def unload(self, name: str, *, timeout_s: float) -> None:
        """Unload a model as soon as it is idle; harmless where it is not loaded."""
        wanted = {"model": name, "keep_alive": 0}
        await self._call("POST", "/api/generate", wanted, timeout_s=timeout_s)

    async def pull(
        self, name: str, *, insecure: bool = False, idle_s: float = 600.0
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Pull a model; yields the progress records, the last one with the status `success`.

        `idle_s` is the longest silence: the check of a large layer is one. Closing the iterator
        closes the connection, and with that ends the pull.
        """
        wanted = {"model": name, "insecure": insecure, "stream": True}
        async with self._deadline(idle_s):
            response = await self._send("POST", "/api/pull", wanted)
        try:
            while True:
                async with self._deadline(idle_s):
                    line = await response.content.readline()
                if not line:
                    raise OllamaError(f"the connection was lost during the pull of {name}")
                record = decode(line)
                if error := record.get("error"):
                    raise OllamaError(plain(error), _ERROR_RECORD_STATUS)
                yield record
                if record.get("status") == "success":
                    return
        finally:
            response.close()

    async def name_weights(self, name: str, digest: str, *, timeout_s: float) -> None:
        """Give weights that lie in its store a name of their own; it moves no bytes."""
        wanted = {"model": name, "files": {"weights.gguf": digest}, "stream": False}
        await self._call("POST", "/api/create", wanted, timeout_s=timeout_s)

    async def copy(self, source: str, target: str, *, timeout_s: float) -> None:
        """Give a model a second name; one that is there already means another model then."""
        await self._change(
            "POST", "/api/copy", {"source": source, "destination": target}, timeout_s
        )

    async def delete(self, name: str, *, timeout_s: float) -> None:
        """Take a model's name away, and the blobs that no other model of that store needs."""
        await self._change("DELETE", "/api/delete", {"model": name}, timeout_s)

    async def _change(self, method: str, path: str, body: Record, timeout_s: float) -> None:
        """Send a request whose answer has no body."""
        async with self._deadline(timeout_s):
            (await self._send(method, path, body)).close()

    async def _call(
        self, method: str, path: str, body: Record | None = None, *, timeout_s: float
    ) -> dict[str, Any]:
        """Send a request and read the whole answer, an object."""
        return await self._read(method, path, body, decode, timeout_s)

    async def _list(
        self, path: str, records: Callable[[Record], _Answer], timeout_s: float
    ) -> _Answer:
        return await self._read("GET", path, None, lambda raw: records(rows_of(raw)), timeout_s)

    async def _read(
        self,
        method: str,
        path: str,
        body: Record | None,
        read: Callable[[bytes], _Answer],
        timeout_s: float,
    ) -> _Answer:
        """Send a request; what `read` makes of the whole answer."""
        async with self._deadline(timeout_s):
            response = await self._send(method, path, body)
            try:
                answer = await _whole(response, _LISTING_BYTES)
            finally:
                response.close()  # back to the pool it went when it was read up
        if len(answer) <= _AT_ONCE_BYTES:
            return read(answer)
        return await asyncio.to_thread(read, answer)

    async def _send(self, method: str, path: str, body: Record | None) -> aiohttp.ClientResponse:
        """Send a request; the head of the answer, if it is a good one. The caller closes it."""
        response = await self._session.request(
            method, self._base_url + path, json=body, allow_redirects=False
        )
        if response.status == 200:
            return response
        try:
            raise refusal(response.status, await _whole(response, _ERROR_BYTES))
        finally:
            response.close()

    @asynccontextmanager
    async def _deadline(self, timeout_s: float) -> AsyncIterator[None]:
        """Give whatever goes wrong within, lateness too, the one name that callers know."""
        try:
            async with asyncio.timeout(timeout_s):
                yield
        except TimeoutError as error:
            raise OllamaError(f"no answer from {self._base_url} in {timeout_s:g}s") from error
        except (aiohttp.ClientError, HttpProcessingError, OSError, ValueError) as error:
            cause = plain(str(error)) or type(error).__name__
            if isinstance(error, OSError) and error.errno in OUT_OF_SOCKETS:
                raise CallNotMade(f"{self._base_url} was not called: {cause}") from error
            raise OllamaError(f"no answer from {self._base_url}: {cause}") from error


async def _whole(response: aiohttp.ClientResponse, limit_bytes: int) -> bytes:
    """Read a whole body, unless it is larger. Raises OllamaError."""
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > limit_bytes:
            raise OllamaError(f"the answer is larger than {show_bytes(limit_bytes)}")
    return bytes(body)
