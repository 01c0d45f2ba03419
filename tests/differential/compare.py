"""Two raw answers to the same request: what differs between them. Pure.

Left out are what must differ between any two servers (Date, times, random ids), what belongs to a
hop (Connection, Transfer-Encoding) and the two headers that the router adds.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

IGNORED = frozenset(
    (
        b"date",
        b"connection",
        b"keep-alive",
        b"transfer-encoding",
        b"x-fleet-instance",
        b"x-fleet-queue-seconds",
        b"x-request-id",
    )
)
VOLATILE = re.compile(
    rb'"(?:(?P<time>(?:total|load|prompt_eval|eval)_duration|created|created_at|completed_at)":\d+'
    rb'|(?P<date>created_at|expires_at)":"[^"]*"'
    rb'|(?P<id>id|item_id|request_id|call_id)":"(?P<kind>'
    rb'(?:chatcmpl|cmpl)-(?=\d{1,3}")|(?:resp|msg)_(?=\d{1,6}")|fc_(?=(?:resp_)?\d{1,6}_\d")'
    rb'|(?:msg|req)_(?=[0-9a-f]{24}")|call_(?=[a-z0-9]{8}"))\w+")'
)  # an id that has another form than Ollama's is compared as it is
OMITTED_AT_0 = frozenset(("eval_duration",))  # as it is for an answer of one token
LITERAL_FIELDS = frozenset(("object", "role", "type"))  # vocabulary, not content


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. `pieces` is its body as it was framed, `framing` how its end was told."""

    status_line: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    framing: str  # none, length, chunked, close, or cut: it ended too early
    pieces: tuple[bytes, ...]

    @property
    def status(self) -> int:
        return int(self.status_line.split()[1])

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    def header(self, name: bytes) -> bytes | None:
        return next((v for n, v in self.headers if n.lower() == name), None)


def differences(
    straight: bytes, routed: bytes, methods: Sequence[str], *, deterministic: bool = True
) -> tuple[str, ...]:
    """What differs, a line each; `methods` are those of the requests that were answered.

    With `deterministic`, bodies must be equal piece by piece but for VOLATILE; else their records
    must have the same fields in the same order.
    """
    ones, others = answers(straight, methods), answers(routed, methods)
    if len(ones) != len(others):
        return (f"{len(ones)} answers straight, {len(others)} routed: {routed[:200]!r}",)
    pairs = zip(ones, others, strict=True)
    return tuple(line for pair in pairs for line in _compared(*pair, deterministic=deterministic))


def kinds(found: Sequence[str]) -> frozenset[str]:
    """What the lines of `differences` are about, without the values."""
    return frozenset(line.partition(":")[0] for line in found)


def answers(raw: bytes, methods: Sequence[str]) -> tuple[Answer, ...]:
    """All answers of a connection, interim ones (1xx) too. Raises ValueError if it is no HTTP."""
    found: list[Answer] = []
    pending = list(methods)
    while raw:
        head, blank, raw = raw.partition(b"\r\n\r\n")
        status_line, *lines = head.split(b"\r\n")
        if not blank or not re.fullmatch(rb"HTTP/1\.[01] \d{3}( .*)?", status_line):
            raise ValueError(f"not the head of an answer: {head[:200]!r}")
        headers = tuple((n, v.strip()) for n, _, v in (line.partition(b":") for line in lines))
        status = int(status_line.split()[1])
        method = "HEAD" if status < 200 else (pending.pop(0) if pending else "GET")
        bare = Answer(status_line, headers, "none", ())
        framing, pieces, raw = _body(bare, raw, bodiless=method == "HEAD" or status in (204, 304))
        found.append(Answer(status_line, headers, framing, tuple(pieces)))
    return tuple(found)


def _body(head: Answer, rest: bytes, *, bodiless: bool) -> tuple[str, list[bytes], bytes]:
    """How the body was framed, its pieces, and what follows it."""
    length = head.header(b"content-length")
    if bodiless:
        return "none", [], rest
    if head.header(b"transfer-encoding") == b"chunked":
        return _chunks(rest)
    if length is None:
        return "close", [rest], b""
    body, rest = rest[: int(length)], rest[int(length) :]
    return "length" if len(body) == int(length) else "cut", [body], rest


def _chunks(rest: bytes) -> tuple[str, list[bytes], bytes]:
    pieces: list[bytes] = []
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        piece, end, rest = rest[:length], rest[length : length + 2], rest[length + 2 :]
        if end != b"\r\n":
            return "cut", [*pieces, piece], b""
        if not length:
            return "chunked", pieces, rest
        pieces.append(piece)
    return "cut", pieces, b""


def _compared(one: Answer, other: Answer, *, deterministic: bool) -> Iterator[str]:
    if one.status_line != other.status_line:
        yield _line("status line", one.status_line, other.status_line)
    ours, theirs = _headers(one), _headers(other)
    for name in sorted({n for n, _ in (*ours, *theirs)}):
        values = [[v for n, v in side if n == name] for side in (ours, theirs)]
        if values[0] != values[1]:
            yield _line(f"header {name.decode()}", *values)
    if one.framing != other.framing:
        yield _line("framing", one.framing, other.framing)
    if deterministic:
        yield from _bodies(one, other)
    elif shapes(one.body) != shapes(other.body):
        yield _line("records", shapes(one.body), shapes(other.body))


def _bodies(one: Answer, other: Answer) -> Iterator[str]:
    ours, theirs = ([mask(piece) for piece in a.pieces] for a in (one, other))
    if ours == theirs:
        return
    if b"".join(ours) == b"".join(theirs):
        yield _line("chunks", [len(p) for p in ours], [len(p) for p in theirs])
        return
    for index, (mine, his) in enumerate(zip(ours, theirs, strict=False)):
        if mine != his:
            yield _line(f"body, piece {index}", mine, his)
            return
    yield _line("pieces of the body", len(ours), len(theirs))


def _headers(answer: Answer) -> list[tuple[bytes, bytes]]:
    """What is compared: a true Content-Length is only that, as times have any number of digits."""
    true_length = str(len(answer.body)).encode() if answer.framing == "length" else None
    return sorted(
        (n, b"true" if n.lower() == b"content-length" and v == true_length else v)
        for n, v in answer.headers
        if n.lower() not in IGNORED
    )


def mask(body: bytes) -> bytes:
    """A body without what differs from one answer of a server to its next."""
    return VOLATILE.sub(_masked, body)


def _masked(found: re.Match[bytes]) -> bytes:
    name = found["time"] or found["date"] or found["id"]
    return b'"%b":"%b*"' % (name, found["kind"] or b"")


def shapes(body: bytes) -> tuple[object, ...]:
    """The sequence of records: names, order and kinds of their fields; runs of equals are one."""
    return tuple(key for key, _ in groupby(_shape_of_line(line) for line in body.splitlines()))


def _shape_of_line(line: bytes) -> object:
    mark, data = (b"data: ", line[6:]) if line.startswith(b"data: ") else (b"", line)
    try:
        return mark, _shape(json.loads(data))
    except ValueError:
        return line


def _shape(value: object, name: str = "") -> object:
    if isinstance(value, dict):
        members = ((k, item) for k, item in value.items() if k not in OMITTED_AT_0)
        return tuple((key, _shape(item, key)) for key, item in members)
    if isinstance(value, list):
        return [key for key, _ in groupby(_shape(item) for item in value)]
    if isinstance(value, bool | None) or name in LITERAL_FIELDS:
        return value
    return "text" if isinstance(value, str) else "number"


def _line(what: str, straight: object, routed: object) -> str:
    return f"{what}: straight {straight!r}, routed {routed!r}"
