"""What came of a request, by what its client saw of it and its instances did. Pure.

The law: each request ends exactly once, whole or as an error that its client can see.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from ollama_fleet.bench.answers import reason_of
from ollama_fleet.bench.chaos.asks import Ask
from ollama_fleet.bench.chaos.reading import read


class End(Enum):
    """How the exchange ended at the client's end of the wire."""

    COMPLETE = "complete"  # with the end that HTTP has for it
    CUT = "cut"  # the connection broke off
    UNREACHED = "unreached"  # there was no connection
    LEFT = "left"  # the client hung up
    SILENT = "silent"  # nothing came of it by the client's deadline


class Verdict(Enum):
    """What came of it. The last four break the law."""

    WHOLE = "whole"
    LEFT = "left"
    ERROR = "error"
    LOST = "lost"
    DOUBLED = "doubled"
    TRUNCATED = "truncated"
    ALTERED = "altered"


@dataclass(frozen=True, slots=True)
class Seen:
    """What a client saw of its request; `first_s` is when the body's first byte came, or None.

    `status` is 0 where no head came. `first_s` is of the machine's monotonic clock.
    """

    ask: Ask
    end: End
    status: int = 0
    body: bytes = b""
    first_s: float | None = None


@dataclass(frozen=True, slots=True)
class Judged:
    """A request and what came of it; `why` is a word for an error, else a reason."""

    ask: Ask
    verdict: Verdict
    why: str
    first_s: float | None


def judge(seen: Seen, expected: str) -> Judged:
    """Judge what a client saw against the text that the backends make of its request."""
    verdict, why = _verdict(seen, expected)
    if verdict in (Verdict.ERROR, Verdict.LEFT) and not _begins(seen, expected):
        verdict, why = Verdict.ALTERED, "what came of it is not the beginning of the answer"
    return Judged(seen.ask, verdict, why, seen.first_s)


def _verdict(seen: Seen, expected: str) -> tuple[Verdict, str]:
    if seen.end is End.SILENT:
        return Verdict.LOST, "no end by the client's deadline"
    if seen.end is End.LEFT:
        return Verdict.LEFT, ""
    if seen.end is not End.COMPLETE:
        return Verdict.ERROR, seen.end.value
    if seen.status != 200:
        return Verdict.ERROR, f"status {seen.status}: {reason_of(seen.body)}"
    return _read(seen, expected)


def _read(seen: Seen, expected: str) -> tuple[Verdict, str]:
    """Of an answer that HTTP says is all there: who can see an error in it has been told of it."""
    reading = read(seen.ask, seen.body)
    if reading.ends > 1 or reading.late:
        return Verdict.DOUBLED, "the answer goes on after its end"
    if reading.garbled:
        return Verdict.ALTERED, "something in it is no record, and HTTP says that all is well"
    if reading.errors:
        return Verdict.ERROR, "error record"
    if not reading.ends:
        return Verdict.TRUNCATED, "neither an end mark nor an error, and HTTP says that it is whole"
    return _compared(reading.text, expected)


def _begins(seen: Seen, expected: str) -> bool:
    """Whether what came of a stream until it ended too soon is the answer's beginning."""
    if seen.status != 200 or not seen.ask.stream:
        return True
    lines, _, _ = seen.body.rpartition(b"\n")  # the last one may be cut
    return expected.startswith(read(seen.ask, lines).text)


def _compared(text: str, expected: str) -> tuple[Verdict, str]:
    if text == expected:
        return Verdict.WHOLE, ""
    if expected.startswith(text):
        return Verdict.TRUNCATED, f"{len(text)} of {len(expected)} characters, and an end mark"
    if text.startswith(expected):
        return Verdict.DOUBLED, f"{len(text)} characters where there are {len(expected)}"
    return Verdict.ALTERED, f"another text: {text[:60]!r}"


def worked_twice(judged: Iterable[Judged], attempts: Mapping[str, Sequence[float]]) -> list[Judged]:
    """Requests that an instance answered though it got them after their client had a byte.

    `attempts` has, by request id, when each instance that began to answer had got the request.
    """
    return [
        Judged(one.ask, Verdict.DOUBLED, "sent again after its client had a byte", one.first_s)
        for one in judged
        if one.first_s is not None
        and any(came_s > one.first_s for came_s in attempts.get(one.ask.id, ()))
    ]
