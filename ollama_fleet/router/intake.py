"""Intake: what routing must know of a request, and nothing more of it."""

import json
from dataclasses import dataclass
from typing import Any

import msgspec

from ollama_fleet.names import canonical
from ollama_fleet.router.dialect import Dialect


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


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a body asks for: its model as written ("" where none can be read), streamed or not."""

    model: str
    stream: bool


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
    return Wanted(fields.model or fields.name or "", stream)


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
    return Wanted(model if isinstance(model, str) else "", stream is True)


class _Pairs:
    """An object as it was written, so that a key's order and repetition are not lost."""

    def __init__(self, items: list[tuple[str, Any]]) -> None:
        self.items = items


_pairs = json.JSONDecoder(object_pairs_hook=_Pairs)


def inference(
    path: str,
    dialect: Dialect,
    body: bytes,
    *,
    stream_default: bool,
    headers: tuple[tuple[bytes, bytes], ...] = (),
    client: str = "",
) -> Request:
    """The record of an inference request: one that takes a slot of the model it names."""
    wanted = read_body(body, stream_default=stream_default)
    key = canonical(wanted.model) if wanted.model.strip() else ""
    return Request(
        method="POST",
        path=path,
        dialect=dialect,
        model=wanted.model,
        key=key,
        slot=key,
        stream=wanted.stream,
        body=body,
        headers=headers,
        client=client,
    )
