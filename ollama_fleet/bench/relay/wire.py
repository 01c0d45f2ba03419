"""What the bench's clients ask and its backend answers: every byte follows from the request. Pure.

A request bears a number, and every token of its answer bears that number and its own: an answer
that lost, doubled, reordered or swapped a token differs from the one that was sent.
"""

import hashlib
import re
from dataclasses import dataclass

MODEL = "bench:latest"
RECORD = b'"done":'  # once in every record, and in nothing else
LAST_CHUNK = b"0\r\n\r\n"  # no record holds a line break of this form: it ends a chunked body

_RECORD = (
    b'{"model":"bench","created_at":"2026-11-01T00:00:00.000000000Z",'
    b'"message":{"role":"assistant","content":"%s"},"done":false}\n'
)
_FINAL = (
    b'{"model":"bench","created_at":"2026-11-01T00:00:00.000000000Z",'
    b'"message":{"role":"assistant","content":"%s"},"done":true,"done_reason":"stop",'
    b'"total_duration":%d,"load_duration":1000,"prompt_eval_count":8,'
    b'"prompt_eval_duration":1000000,"eval_count":%d,"eval_duration":%d}\n'
)
_BODY = (
    b'{"model":"bench","stream":%s,"messages":[{"role":"user","content":"why is the sky blue?"}],'
    b'"options":{"seed":%d,"num_predict":%d,"per_s":%d}}'
)
_ASKED = re.compile(rb'"stream":(true|false).*"seed":(\d+),"num_predict":(\d+),"per_s":(\d+)')

_AT_ONCE_PER_S = 10_000  # tokens a second that one stream has when nobody paces it


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: `tokens` of answer number `number`, at `per_s` tokens a second (0: at once)."""

    number: int
    tokens: int
    per_s: int
    stream: bool


def request(asked: Asked) -> bytes:
    """The request as a client sends it."""
    stream = b"true" if asked.stream else b"false"
    body = _BODY % (stream, asked.number, asked.tokens, asked.per_s)
    head = b"POST /api/chat HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    return b"%sContent-Length: %d\r\n\r\n%s" % (head, len(body), body)


def read_request(body: bytes) -> Asked:
    """What a request's body asks for. Raises ValueError if it is none of ours."""
    match = _ASKED.search(body)
    if match is None:
        raise ValueError(f"not a request of the bench: {body[:80]!r}")
    number, tokens, per_s = map(int, match.groups()[1:])
    return Asked(number, tokens, per_s, match[1] == b"true")


def token_record(number: int, at: int) -> bytes:
    """The record of one token, a line of about 125 bytes."""
    return _RECORD % (b"%07d.%04d " % (number, at))


def final_record(asked: Asked) -> bytes:
    """The record that ends a streamed answer."""
    return _final(asked, b"")


def answer_body(asked: Asked) -> bytes:
    """The whole body of an answer."""
    if asked.stream:
        records = [token_record(asked.number, at) for at in range(asked.tokens)]
        return b"".join(records) + final_record(asked)
    content = b"".join(b"%07d.%04d " % (asked.number, at) for at in range(asked.tokens))
    return _final(asked, content)


def _final(asked: Asked, content: bytes) -> bytes:
    """Its durations are the true ones, for a router may go by them."""
    decode_ns = asked.tokens * 10**9 // (asked.per_s or _AT_ONCE_PER_S)
    return _FINAL % (content, decode_ns + 2 * 10**6, asked.tokens, decode_ns)


def digest(body: bytes) -> bytes:
    """A body's hash, by which what came is held against what was sent."""
    return hashlib.blake2b(body, digest_size=16).digest()


def chunk(data: bytes) -> bytes:
    """Data in chunk framing."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def unchunk(framed: bytes) -> bytes:
    """The data of a chunked body. Raises ValueError where the framing is broken."""
    pieces: list[bytes] = []
    at = 0
    while True:
        line_end = framed.index(b"\r\n", at)
        size = int(framed[at:line_end], 16)
        at = line_end + 2 + size
        if framed[at : at + 2] != b"\r\n":
            raise ValueError("a chunk that is not as long as it says")
        if size == 0:
            return b"".join(pieces)
        pieces.append(framed[line_end + 2 : at])
        at += 2
