"""What an Ollama says, read: a record or an `OllamaError`, whatever it sends. Pure."""

import json
import math
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import Any, Final

import msgspec

from ollama_fleet.errors import OllamaError
from ollama_fleet.names import canonical
from ollama_fleet.state import ResidentModel, StoredModel

MOST_STORED: Final = 1000
"""Models of a store that are known of; Ollama lists the latest first."""
MOST_RESIDENT: Final = 256
"""Models that can be in an instance's memory; a list of more is none."""

_SHORT_BYTES: Final = 2**16  # hundreds of models: read as it is
_TEXT_CHARS: Final = 2000
_SIZE_LIMIT: Final = 2**63  # sizes are int64 to Ollama
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")

Record = Mapping[str, Any]


def decode(body: bytes) -> dict[str, Any]:
    """Read an object whose every value can be written again as JSON in UTF-8."""
    try:
        answer = json.loads(body.decode(), parse_float=_finite, parse_constant=_finite)
        if _SURROGATE.search(body):  # half a pair is a str that cannot be encoded
            json.dumps(answer, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise OllamaError(f"the answer is not JSON: {plain(str(error))}") from error
    if not isinstance(answer, dict):
        raise OllamaError("the answer is not a JSON object")
    return answer


def rows_of(body: bytes) -> Record:
    """Read a list of models; of a long one only as many rows as may count, plus one.

    The others are passed over unread: what is made of them would have to be collected, too, and a
    collection holds the loop up, whichever thread it is for. Raises OllamaError.
    """
    if len(body) <= _SHORT_BYTES:
        return decode(body)
    try:
        rows = msgspec.json.decode(body, type=_Listing).models or []
    except msgspec.MsgspecError as error:
        raise OllamaError(f"the answer is no list of models: {plain(error)}") from error
    return decode(b'{"models":[' + b",".join(map(bytes, rows[: MOST_STORED + 1])) + b"]}")


class _Listing(msgspec.Struct):
    models: list[msgspec.Raw] | None


def stored_models(answer: Record) -> tuple[StoredModel, ...]:
    """The models of an answer to /api/tags, the first MOST_STORED."""
    return tuple(
        StoredModel(
            key=canonical(name),
            name=name,
            digest=plain_text(row, "digest"),
            size_bytes=_size(row, "size"),
            row=row,
        )
        for name, row in islice(_rows(answer), MOST_STORED)
    )


def resident_models(answer: Record) -> tuple[ResidentModel, ...]:
    """The models of an answer to /api/ps."""
    rows = tuple(islice(_rows(answer), MOST_RESIDENT + 1))
    if len(rows) > MOST_RESIDENT:
        raise OllamaError(f"the answer has more than {MOST_RESIDENT} models in memory")
    return tuple(
        ResidentModel(
            key=canonical(name),
            name=name,
            size_bytes=_size(row, "size"),
            vram_bytes=_size(row, "size_vram"),
            expires_at=plain_text(row, "expires_at"),
            row=row,
            expires_s=unix_s(plain_text(row, "expires_at")),
        )
        for name, row in rows
    )


def refusal(status: int, body: bytes) -> OllamaError:
    """What an answer other than 200 means, in Ollama's own words where it has some."""
    try:
        reason = plain(decode(body).get("error") or "")
    except OllamaError:
        reason = plain(body.decode(errors="replace"))
    return OllamaError(reason or f"answered with HTTP status {status}", status)


def _rows(answer: Record) -> Iterator[tuple[str, Record]]:
    if "models" not in answer:
        raise OllamaError("the answer has no `models`")
    rows = [] if answer["models"] is None else answer["models"]  # so old versions say "none"
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise OllamaError("the answer's `models` is not a list of objects")
    for row in rows:
        name = plain_text(row, "name")
        if not name:
            raise OllamaError("the answer has a model without a name")
        yield name, row


def plain_text(record: Record, field: str) -> str:
    """A short text, safe to show; a field that is not there is empty."""
    value = record.get(field, "")
    if not isinstance(value, str) or not value.isprintable() or len(value) > _TEXT_CHARS:
        raise OllamaError(f"the answer's `{field}` is not a plain text")
    return value


def _size(record: Record, field: str) -> int:
    """A number of bytes; a field that is not there is 0."""
    value = record.get(field, 0)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _SIZE_LIMIT:
        raise OllamaError(f"the answer's `{field}` is not a size in bytes")
    return value


def unix_s(stamp: object) -> float:
    """Unix seconds of an RFC 3339 time; infinite if it cannot be read."""
    try:
        return datetime.fromisoformat(str(stamp)).timestamp()
    except (ValueError, OverflowError):
        return math.inf


def _finite(text: str) -> float:
    """Raise ValueError for what JSON does not have: NaN and the infinities."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not a number in JSON")
    return value


def plain(text: object) -> str:
    """A text of foreign origin as one line for people, without what a terminal would obey."""
    return "".join(c if c.isprintable() else " " for c in str(text)[:_TEXT_CHARS]).strip()
