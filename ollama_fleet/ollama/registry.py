"""What a registry says of a model that is in no store yet: its layers, the shape of its weights.

A registry is Ollama's own or any that speaks its protocol: the manifest at
`/v2/<namespace>/<model>/manifests/<tag>`, blobs beside it, which may be redirected to another host.
Of a blob only the head is asked for, by ranges that grow. Nobody is signed in for that: what a
registry shows to those it knows only, has to be pulled first. Whether a registry may be asked at
all is the caller's to judge (control/library/allowed).
"""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import aiohttp
from yarl import URL

from ollama_fleet.errors import OllamaError
from ollama_fleet.names import ModelName
from ollama_fleet.vram import Head, HeadReader, ModelShape, shape_of, with_parts

_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
_KIND: Final = "application/vnd.ollama.image."
_LARGEST_MANIFEST_BYTES: Final = 2**20
_FIRST_BYTES: Final = 2**20  # enough for a projector, or an embedder; a tokeniser of today's has 8
_MOST_AT_ONCE_BYTES: Final = 2**24
_PIECE_BYTES: Final = 2**18
_MOST_REDIRECTS: Final = 5
_MOST_LAYERS: Final = 64
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_PARTS: Final = frozenset({"model", "projector", "adapter"})


@dataclass(frozen=True, slots=True)
class RemoteLayer:
    """A blob as a registry's manifest names it; `kind` is model, projector, template and so on."""

    kind: str
    digest: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class RemoteModel:
    """A model as its registry describes it."""

    name: ModelName
    layers: tuple[RemoteLayer, ...]

    @property
    def size_bytes(self) -> int:
        """Bytes of all its layers: what a pull brings."""
        return sum(layer.size_bytes for layer in self.layers)


def new_session() -> aiohttp.ClientSession:
    """Return a session for calls to registries: through the proxy that this machine names, if any.

    So does Ollama pull.
    """
    return aiohttp.ClientSession(
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Accept-Encoding": "identity"},
        auto_decompress=False,
        trust_env=True,
    )


class Registries:
    """Asks registries. All methods raise OllamaError and nothing else; deadlines are in seconds.

    `insecure` lets them speak plain HTTP where a model's name says so.
    """

    def __init__(self, session: aiohttp.ClientSession, *, insecure: bool = False) -> None:
        self._session = session
        self._insecure = insecure

    async def model(self, name: ModelName, *, timeout_s: float = 20.0) -> RemoteModel:
        """Read the manifest of a model."""
        async with self._deadline(name, timeout_s):
            url = f"{self._base(name)}/manifests/{name.tag}"
            async with self._asked(name, url, {"Accept": _MANIFEST}) as answer:
                content = await answer.content.read(_LARGEST_MANIFEST_BYTES)
                while content and (more := await answer.content.read(_LARGEST_MANIFEST_BYTES)):
                    content += more
                    if len(content) > _LARGEST_MANIFEST_BYTES:
                        raise OllamaError(f"the manifest of {name} is longer than any can be")
        return RemoteModel(name, _layers(name, content))

    async def shape(self, model: RemoteModel, *, timeout_s: float = 60.0) -> ModelShape:
        """Read the heads of a model's files, and no more of them."""
        heads: dict[str, list[Head]] = {kind: [] for kind in _PARTS}
        async with self._deadline(model.name, timeout_s):
            for layer in model.layers:
                if layer.kind in _PARTS:
                    heads[layer.kind].append(await self._head(model.name, layer))
        if not heads["model"]:
            raise OllamaError(f"{model.name} has no weights: it is run elsewhere")
        try:
            shape = shape_of(heads["model"][-1])
            return with_parts(shape, projectors=heads["projector"], adapters=heads["adapter"])
        except ValueError as error:
            raise OllamaError(f"how large {model.name} is cannot be told: {error}") from None

    async def _head(self, name: ModelName, layer: RemoteLayer) -> Head:
        """The head of a blob, by as many ranges as it takes."""
        reader = HeadReader()
        start, count = 0, _FIRST_BYTES
        while start < layer.size_bytes:
            end = min(start + count, layer.size_bytes)
            async with aclosing(self._range(name, layer, start, end)) as pieces:
                async for piece in pieces:
                    start += len(piece)
                    head = _fed(name, reader, piece)
                    if head is not None:
                        return head
            count = min(4 * count, _MOST_AT_ONCE_BYTES)
        raise OllamaError(f"the weights of {name} cannot be read: they end within their head")

    async def _range(
        self, name: ModelName, layer: RemoteLayer, start: int, end: int
    ) -> AsyncGenerator[bytes, None]:
        """The bytes of a blob from `start` to `end`. A server that knows no ranges sends all."""
        url = f"{self._base(name)}/blobs/{layer.digest}"
        async with self._asked(name, url, {"Range": f"bytes={start}-{end - 1}"}) as answer:
            left = end - start
            if answer.status == 200:
                left = layer.size_bytes
                if start:
                    raise OllamaError(f"{name.host} sends parts of files at one time only")
            while left > 0 and (piece := await answer.content.read(min(left, _PIECE_BYTES))):
                left -= len(piece)
                yield piece
            if left:
                raise OllamaError(f"{name.host} broke off while the head of {name} was read")

    def _base(self, name: ModelName) -> str:
        scheme = name.scheme or "https"
        if scheme != "https" and not (scheme == "http" and self._insecure):
            raise OllamaError(
                f"{name.host} would be asked without TLS; pulls.insecure in fleet.yaml allows that"
            )
        return f"{scheme}://{name.host}/v2/{name.namespace}/{name.model}"

    @asynccontextmanager
    async def _asked(
        self, name: ModelName, url: str, headers: Mapping[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer to a GET, wherever it comes from in the end; never from TLS to none."""
        for _ in range(_MOST_REDIRECTS + 1):
            async with self._session.get(
                URL(url, encoded=True), headers=headers, allow_redirects=False
            ) as answer:
                if answer.status not in _REDIRECTS:
                    _check(name, answer)
                    yield answer
                    return
                onward = urljoin(url, answer.headers.get("Location", ""))
            allowed = {"https", urlsplit(url).scheme}
            if urlsplit(onward).scheme not in allowed:
                raise OllamaError(f"{name.host} sends on to {onward[:200]}, which is not safe")
            url = onward
        raise OllamaError(f"{name.host} sends on and on, {url[:200]} last")

    @asynccontextmanager
    async def _deadline(self, name: ModelName, timeout_s: float) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(timeout_s):
                yield
        except TimeoutError:
            raise OllamaError(
                f"{name.host} did not answer within {timeout_s:g} s; is it reachable from here?"
            ) from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise OllamaError(
                f"{name.host} cannot be asked about {name}: {reason}; what a model needs is also"
                " known once it is pulled"
            ) from None


def _fed(name: ModelName, reader: HeadReader, piece: bytes) -> Head | None:
    try:
        return reader.feed(piece)
    except ValueError as error:
        raise OllamaError(f"the weights of {name} cannot be read: {error}") from None


def _check(name: ModelName, answer: aiohttp.ClientResponse) -> None:
    status = answer.status
    if status == 404:
        raise OllamaError(f"{name.host} has no model {name}; is the tag right?", status)
    if status in {401, 403}:
        raise OllamaError(
            f"{name.host} shows {name} only to whom it knows; what it needs is known once it is"
            " pulled by an Ollama that is signed in",
            status,
        )
    if status not in {200, 206}:
        raise OllamaError(f"{name.host} answered {status} when asked about {name}", status)


def _layers(name: ModelName, content: bytes) -> tuple[RemoteLayer, ...]:
    try:
        listed = json.loads(content)["layers"][:_MOST_LAYERS]
        return tuple(_layer(each) for each in listed)
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
        raise OllamaError(f"what {name.host} sent for the manifest of {name} is none") from None


def _layer(entry: Mapping[str, Any]) -> RemoteLayer:
    kind = str(entry["mediaType"]).removeprefix(_KIND)
    digest, size_bytes = str(entry["digest"]), int(entry["size"])
    hexadecimal = digest.removeprefix("sha256:")
    if len(hexadecimal) != 64 or not set(hexadecimal) <= set("0123456789abcdef") or size_bytes < 0:
        raise ValueError("no digest")
    return RemoteLayer(kind, digest, size_bytes)
