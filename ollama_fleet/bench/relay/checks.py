"""Is an answer the one that was sent? By its hash; where that differs, by what is wrong. Pure."""

import re
from dataclasses import dataclass, field
from enum import Enum

from ollama_fleet.bench.relay.wire import Asked, answer_body, digest, unchunk

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked", re.IGNORECASE)
_TOKEN = re.compile(rb"(\d{7})\.(\d{4}) ")
_COUNT = re.compile(rb'"eval_count":(\d+)')
_REASONS = 10


class Verdict(Enum):
    """What became of a request."""

    GOOD = "good"
    FAILED = "failed"  # no answer, or another status than 200
    ALTERED = "altered"  # an answer that ended well, but not the one that was sent


@dataclass(frozen=True, slots=True)
class Head:
    """What a client must know of an answer's head; `length` is None for a chunked body."""

    status: int
    length: int | None


def read_head(head: bytes) -> Head:
    """Read a head, blank line excluded. Raises ValueError where the body's end is not told."""
    length = _LENGTH.search(head)
    if length is None and _CHUNKED.search(head) is None:
        raise ValueError("an answer with neither Content-Length nor chunks")
    return Head(int(head[9:12]), int(length[1]) if length else None)


def judge(asked: Asked, head: Head, raw_body: bytes) -> tuple[Verdict, str]:
    """Hold an answer's body, framed as its head says, against the one that was sent."""
    if head.status != 200:
        return Verdict.FAILED, f"status {head.status}: {raw_body[:200]!r}"
    try:
        body = unchunk(raw_body) if head.length is None else raw_body
    except ValueError as error:
        return Verdict.ALTERED, f"broken chunks: {error}"
    if digest(body) == digest(answer_body(asked)):
        return Verdict.GOOD, ""
    return Verdict.ALTERED, _difference(asked, body)


def _difference(asked: Asked, body: bytes) -> str:
    """Name the first law that a body breaks."""
    tokens = [(int(number), int(at)) for number, at in _TOKEN.findall(body)]
    if any(number != asked.number for number, _ in tokens):
        return f"answer {asked.number} has tokens of another"
    if [at for _, at in tokens] != list(range(asked.tokens)):
        return f"answer {asked.number}: not each of {asked.tokens} tokens once and in order"
    count = _COUNT.search(body)
    if count is None or b'"done":true' not in body:
        return f"answer {asked.number} has no final record"
    if int(count[1]) != asked.tokens:
        return f"answer {asked.number} counts {int(count[1])} of {asked.tokens} tokens"
    return f"answer {asked.number} differs in other bytes"


@dataclass(slots=True)
class Tally:
    """How many answers were good, failed or altered, and the first few reasons."""

    good: int = 0
    failed: int = 0
    altered: int = 0
    reasons: list[str] = field(default_factory=list)

    def note(self, verdict: Verdict, reason: str) -> None:
        """Count one answer."""
        if verdict is Verdict.GOOD:
            self.good += 1
            return
        if verdict is Verdict.FAILED:
            self.failed += 1
        else:
            self.altered += 1
        if len(self.reasons) < _REASONS:
            self.reasons.append(reason)
