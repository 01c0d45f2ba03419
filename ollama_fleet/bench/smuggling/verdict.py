"""Does what came of a case follow from what its bytes mean? Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from ollama_fleet.bench.smuggling.origin import echo
from ollama_fleet.bench.smuggling.reading import Meaning, Message, Rest

_OURS = frozenset((b"host", b"content-length", b"transfer-encoding", b"x-request-id"))


@dataclass(frozen=True, slots=True)
class Answer:
    """One final answer as the client read it. `closing`: it said that it is the last."""

    status: int
    body: bytes
    closing: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """What both ends saw. `closed`: the router ended the connection before the client did."""

    answers: tuple[Answer, ...]
    closed: bool
    seen: tuple[Message, ...]
    junk: tuple[bytes, ...]


def desync(meaning: Meaning, outcome: Outcome) -> str:
    """The law that was broken, in words; "" if none was."""
    return _at_origin(outcome) or _in_order(meaning, outcome) or _complete(meaning, outcome)


def _at_origin(outcome: Outcome) -> str:
    if outcome.junk:
        return f"the origin got bytes that are no request: {outcome.junk[0][:80]!r}"
    return ""


def _in_order(meaning: Meaning, outcome: Outcome) -> str:
    """Each answer is of the request in its place, and the origin saw those it answered."""
    relayed: list[Message] = []
    for at, answer in enumerate(outcome.answers):
        last = at == len(outcome.answers) - 1
        if answer.closing and not last:
            return "an answer behind the last one"
        if not answer.body.startswith(b'{"echo"'):
            early = at == len(meaning.messages) and meaning.rest is Rest.PART
            if at >= len(meaning.messages) and not early and not (last and answer.status >= 400):
                return "an answer to nothing"
        elif at >= len(meaning.messages):
            return f"the origin's answer to what was no request: {answer.body!r}"
        elif answer.body != _expected(meaning.messages[at]):
            return f"request {at} got the answer of another: {answer.body!r}"
        else:
            relayed.append(meaning.messages[at])
    if len(outcome.seen) != len(relayed):
        return f"the origin saw {len(outcome.seen)} requests, {len(relayed)} were answered by it"
    return _alike(relayed, outcome.seen)


def _expected(message: Message) -> bytes:
    """The router asks for its own route string: an escape in the client's is none there."""
    path = unquote_to_bytes(message.target.partition(b"?")[0])
    return echo(Message(message.method, path, message.version, message.fields, message.body))


def _alike(relayed: Sequence[Message], seen: Sequence[Message]) -> str:
    for sent, got in zip(relayed, seen, strict=True):
        added = set(got.fields) - set(sent.fields)
        smuggled = [name for name, _ in added if name not in _OURS]
        if smuggled:
            return f"the origin got a header that its request does not have: {smuggled[0]!r}"
        if got.body != sent.body:
            return "the origin got another body"
    return ""


def _complete(meaning: Meaning, outcome: Outcome) -> str:
    """No request is lost without a sign: what is not answered is behind the connection's end."""
    answered = len(outcome.answers)
    if answered >= len(meaning.messages):
        return ""
    if not outcome.closed:
        return f"{answered} of {len(meaning.messages)} requests are answered, and then silence"
    if answered and not outcome.answers[-1].closing:
        return "the connection was closed behind an answer that did not say so"
    before = meaning.messages[answered - 1] if answered else None
    refused = bool(answered) and outcome.answers[-1].status >= 400
    if not refused and (before is None or not before.may_end):
        return "the connection was closed for no reason that the client could know"
    return ""
