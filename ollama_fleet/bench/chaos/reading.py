"""An answer's body as its client reads it, in whatever dialect. Pure."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from ollama_fleet.bench.chaos.asks import EMBEDDINGS, Ask, Route

Record = dict[str, Any]


@dataclass(slots=True)
class Reading:
    """What stands in a body: its text, and how often it says that it ends or has failed.

    `late` is whether anything came after the first of these, `garbled` whether anything is no
    record at all. An embedding's text is its vector as JSON.
    """

    text: str = ""
    ends: int = 0
    errors: int = 0
    late: bool = False
    garbled: bool = False


def read(ask: Ask, data: bytes) -> Reading:
    """Read a body, also one that is not all there."""
    reading = Reading()
    pieces: list[str] = []
    for record in _records(ask, data):
        over = reading.ends + reading.errors
        if record is None:
            reading.garbled = True
        elif record.get("error") or record.get("type") in _FAILED:
            reading.errors += 1
        else:
            said, ends = _reader(ask)(record)
            pieces.append(said)
            reading.ends += ends
            reading.late = reading.late or bool(over and (said or ends))
    reading.text = "".join(pieces)
    return reading


_FAILED: Final = ("error", "response.failed")
_DONE: Final[Record] = {"type": "[DONE]"}


def _records(ask: Ask, data: bytes) -> Iterator[Record | None]:
    """Each record; None for what is none."""
    if not ask.stream:
        yield _record(data)
        return
    for line in filter(None, data.split(b"\n")):
        if ask.route in (Route.GENERATE, Route.CHAT):
            yield _record(line)
        elif line == b"data: [DONE]":
            yield _DONE
        elif line.startswith(b"data: "):
            yield _record(line.removeprefix(b"data: "))
        elif not line.startswith(b"event: "):
            yield _record(line)  # Ollama tells some errors without the frame of an event


def _record(data: bytes) -> Record | None:
    try:
        found = json.loads(data)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


# A record's text, and 1 if it ends the answer.
Said = tuple[str, int]


def _reader(ask: Ask) -> Callable[[Record], Said]:
    if ask.route in EMBEDDINGS:
        return _vector
    if ask.route in (Route.GENERATE, Route.CHAT):
        return _native
    return (_EVENTS if ask.stream else _WHOLES)[ask.route]


def _native(record: Record) -> Said:
    message = record.get("message") or {}
    return record.get("response") or message.get("content") or "", int(record.get("done") is True)


def _vector(record: Record) -> Said:
    rows = record.get("embeddings") or [row["embedding"] for row in record.get("data") or []]
    return json.dumps(rows[0]) if rows else "", 1


def _choice(record: Record) -> Said:
    if record is _DONE:
        return "", 1
    choices = record.get("choices") or [{}]
    text = choices[0].get("text") or (choices[0].get("delta") or {}).get("content")
    return text or "", 0  # a finish_reason announces the end, [DONE] is it


def _whole_choice(record: Record) -> Said:
    choice = (record.get("choices") or [{}])[0]
    text = choice.get("text") or (choice.get("message") or {}).get("content")
    return text or "", int(bool(choice.get("finish_reason")))


def _message_event(record: Record) -> Said:
    delta = record.get("delta") or {}
    return delta.get("text") or "", int(record.get("type") == "message_stop")


def _whole_message(record: Record) -> Said:
    blocks = record.get("content") or []
    return "".join(b.get("text", "") for b in blocks), int(bool(record.get("stop_reason")))


def _response_event(record: Record) -> Said:
    kind = record.get("type")
    text = record.get("delta") if kind == "response.output_text.delta" else ""
    return text or "", int(kind == "response.completed")


def _whole_response(record: Record) -> Said:
    parts = [part for item in record.get("output") or [] for part in item.get("content") or []]
    text = "".join(part.get("text", "") for part in parts)
    return text, int(record.get("status") == "completed")


_EVENTS: Final = {
    Route.V1_CHAT: _choice,
    Route.V1_COMPLETIONS: _choice,
    Route.MESSAGES: _message_event,
    Route.RESPONSES: _response_event,
}
_WHOLES: Final = {
    Route.V1_CHAT: _whole_choice,
    Route.V1_COMPLETIONS: _whole_choice,
    Route.MESSAGES: _whole_message,
    Route.RESPONSES: _whole_response,
}
