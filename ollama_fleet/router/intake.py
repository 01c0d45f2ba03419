"""Intake: what routing must know of a request, and nothing more of it."""

import json
from dataclasses import dataclass
from typing import Any

import msgspec

from ollama_fleet.names import canonical
from ollama_fleet.router.dialect import Dialect
from ollama_fleet.units import parse_duration


@dataclass(frozen=True, slots=True)
class Request:
    """A request on its way to an instance.

    `path` is our own route string, never the client's bytes. `model` is as written, `key` its
    comparison form. `slot` is what its lease counts under: the model's key
    for inference, "" for a call that occupies no slot. `client` names the sender for logs.
    """

    method: str
    path: str
    dialect: Dialect
    model: str = ""
    key: str = ""
    slot: str = ""
    stream: bool = False
    body: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    client: str = ""


class _Fields(msgspec.Struct):
    """The top-level fields that routing reads; everything else is skipped undecoded."""

    model: str | None = None
    name: str | None = None
    stream: bool | None = None
    keep_alive: float | str | None = None
    prompt: msgspec.Raw = msgspec.Raw()
    messages: msgspec.Raw = msgspec.Raw()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a body asks for: its model as written ("" where none can be read), streamed or not.

    `unload`: nothing is to be generated and nothing kept, which is how a model is unloaded.
    """

    model: str
    stream: bool
    unload: bool = False


_decoder = msgspec.json.Decoder(_Fields)


def read_body(body: bytes, *, stream_default: bool) -> Wanted:
    """Read the model and the stream flag of a JSON body, as Ollama would.

    A body that cannot be read yields no model: it goes to some instance, whose own error text is
    the right answer.
    """
    try:
        fields = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _exact(body, stream_default=stream_default)
    if fields.model is None or _is_ambiguous(body):
        return _exact(body, stream_default=stream_default)
    stream = stream_default if fields.stream is None else fields.stream
    empty = bytes(fields.prompt) in _NOTHING and bytes(fields.messages) in _NOTHING
    unload = empty and _is_zero(fields.keep_alive)
    return Wanted(fields.model or fields.name or "", stream, unload)


_NOTHING = frozenset((b"", b"null", b'""', b"[]"))


def _is_zero(keep_alive: object) -> bool:
    """Whether a keep_alive says "not at all": 0, "0", "0s"."""
    if not isinstance(keep_alive, int | float | str):
        return False
    try:
        return parse_duration(keep_alive) == 0
    except ValueError:
        return False


def _is_ambiguous(body: bytes) -> bool:
    """Whether another spelling of the key may be in there: written twice, escaped, other case."""
    head = body if len(body) <= _LOOK_BYTES else body[:_LOOK_BYTES] + body[-_LOOK_BYTES:]
    folded = head.lower()
    return folded.count(b'"model"') != 1 or b'"\\u' in folded


_LOOK_BYTES = 64 * 1024


def _exact(body: bytes, *, stream_default: bool) -> Wanted:
    """Go's reading of a JSON object: keys folded, document order, last wins, null leaves alone.

    Bytes after the first value are ignored (encoding/json's Decoder).
    """
    try:
        text = body.decode("utf-8", errors="replace").lstrip(" \t\r\n")
        pairs, _ = _pairs.raw_decode(text)
    except (ValueError, RecursionError):
        return Wanted("", stream_default)
    if not isinstance(pairs, _Pairs):
        return Wanted("", stream_default)
    found: dict[str, Any] = {}
    for key, value in pairs.items:
        if value is not None:
            found[key.casefold()] = value
    model = found.get("model") or found.get("name") or ""
    stream = found.get("stream", stream_default)
    unload = (
        not found.get("prompt") and not found.get("messages") and _is_zero(found.get("keep_alive"))
    )
    return Wanted(model if isinstance(model, str) else "", stream is True, unload)


class _Pairs:
    """An object as it was written, so that a key's order and repetition are not lost."""

    def __init__(self, items: list[tuple[str, Any]]) -> None:
        self.items = items


_pairs = json.JSONDecoder(object_pairs_hook=_Pairs)


def inference(
    path: str,
    dialect: Dialect,
    body: bytes,
    wanted: Wanted,
    *,
    headers: tuple[tuple[bytes, bytes], ...] = (),
    client: str = "",
) -> Request:
    """The record of an inference request: it takes a slot of the model it names, if it runs one."""
    key = canonical(wanted.model) if wanted.model.strip() else ""
    return Request(
        method="POST",
        path=path,
        dialect=dialect,
        model=wanted.model,
        key=key,
        slot="" if wanted.unload else key,
        stream=wanted.stream,
        body=body,
        headers=headers,
        client=client,
    )
