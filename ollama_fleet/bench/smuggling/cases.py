"""Cases: requests on one connection, bent by a known trick and by random changes. Pure, seeded."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from ollama_fleet.bench.smuggling.mutations import mutate

Bytes = Callable[[random.Random, int], bytes]

CODINGS = (
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding : chunked",
    b"Transfer-Encoding:chunked",
    b"Transfer-Encoding:\tchunked",
    b"Transfer-Encoding: \x0bchunked",
    b"Transfer-Encoding: Chunked",
    b"Transfer-Encoding: xchunked",
    b"Transfer-Encoding: chunked, identity",
    b"Transfer-Encoding: identity, chunked",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: chunked;q=1",
    b'Transfer-Encoding: "chunked"',
    b"Transfer-Encoding:",
    b"Transfer-Encoding:\r\n chunked",
    b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    b"Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
    b"X: x\nTransfer-Encoding: chunked",
    b"Transfer_Encoding: chunked",
    b"transfer-encoding\x00: chunked",
)
UPGRADES = (b"h2c", b"websocket", b"TLS/1.0", b"h2c, websocket", b"")
EXPECTATIONS = (
    b"100-continue",
    b"100-Continue",
    b"y 100-continue",
    b"cookies",
    b"",
    b"100-continue, x",
)


@dataclass(frozen=True, slots=True)
class Case:
    """What a client writes, piece by piece, and the trick it tries."""

    trick: str
    writes: tuple[bytes, ...]

    @property
    def data(self) -> bytes:
        """All of it."""
        return b"".join(self.writes)


def make_case(seed: int, number: int) -> Case:
    """The case of that number: the same in every run."""
    rng = random.Random(f"{seed}:{number}")  # noqa: S311 - a reproducible case
    trick = rng.choice(tuple(TRICKS))
    data = TRICKS[trick](rng, number)
    data += b"".join(_innocent(number, at) for at in range(rng.choice((0, 1, 1, 2))))
    for _ in range(rng.choice((0, 0, 0, 1, 1, 2))):
        data = mutate(rng, data)
    return Case(trick, _cut(rng, data))


def _cut(rng: random.Random, data: bytes) -> tuple[bytes, ...]:
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.choice((0, 0, 1, 2, 4))))
    pieces = (data[a:b] for a, b in zip((0, *cuts), (*cuts, len(data)), strict=True))
    return tuple(piece for piece in pieces if piece)


def _request(
    *fields: bytes, body: bytes = b"", line: bytes = b"POST /api/chat HTTP/1.1", length: bool = True
) -> bytes:
    """A request to a host that is welcome, its body's length said unless told otherwise."""
    lengths = (b"Content-Length: %d" % len(body),) if length and body else ()
    return b"\r\n".join((line, b"Host: localhost", *lengths, *fields, b"", body))


def _innocent(number: int, at: int) -> bytes:
    """The request that a smuggler wants to have misread."""
    return _request(b"X-Victim: yes", body=b'{"model":"m","case":%d,"victim":%d}' % (number, at))


def _smuggled(rng: random.Random, number: int) -> bytes:
    """A request to be hidden: whole, or one that swallows the beginning of the next."""
    body = b'{"model":"m","smuggled":%d}' % number
    whole = _request(b"X-Smuggled: yes", body=body, line=b"POST /api/show HTTP/1.1")
    head = b"POST /api/show HTTP/1.1\r\nHost: localhost\r\n"
    return rng.choice((whole, whole, head + b"X: ", head + b"Content-Length: 200\r\n\r\n{"))


def _chunked(*pieces: bytes, trailers: bytes = b"") -> bytes:
    framed = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return framed + b"0\r\n" + trailers + b"\r\n"


def _cl_te(rng: random.Random, number: int) -> bytes:
    body = _chunked(*rng.choice(((), (b'{"model":"m"}',)))) + _smuggled(rng, number)
    return _request(rng.choice(CODINGS), body=body)


def _te_cl(rng: random.Random, number: int) -> bytes:
    body = _chunked(_smuggled(rng, number))
    said = rng.choice((4, len(body), body.index(b"\r\n") + 2, 0))
    fields = [b"Content-Length: %d" % said, rng.choice(CODINGS)]
    rng.shuffle(fields)
    return _request(*fields, body=body, length=False)


def _te_te(rng: random.Random, number: int) -> bytes:
    body = _chunked(b'{"model":"m"}') + _smuggled(rng, number)
    return _request(rng.choice(CODINGS), rng.choice(CODINGS), body=body, length=False)


def _cl_0(rng: random.Random, number: int) -> bytes:
    """A body where none is expected: a server that answers without reading it misreads the next."""
    lines = (
        b"GET /api/version",
        b"GET /nothing",
        b"POST /api/version",
        b"HEAD /",
        b"POST /api//chat",
    )
    lengths = (
        b"Content-Length: %d",
        b"Content-Length: +%d",
        b"Content-Length: 0%d",
        b"Content-Length:\t%d",
    )
    body = _smuggled(rng, number)
    line = rng.choice(lines) + b" HTTP/1.1"
    return _request(rng.choice(lengths) % len(body), body=body, line=line, length=False)


def _two_lengths(rng: random.Random, number: int) -> bytes:
    body = _smuggled(rng, number)
    lengths = [
        b"Content-Length: %d" % len(body),
        b"Content-Length: %d" % rng.choice((0, len(body))),
    ]
    rng.shuffle(lengths)
    glued = rng.choice((b"\r\n".join(lengths), b"Content-Length: %d, %d" % (len(body), 0)))
    return _request(glued, body=body, length=False)


def _pipelined(rng: random.Random, number: int) -> bytes:
    first = b"".join(_innocent(number, -at) for at in range(1, rng.randrange(2, 5)))
    return first + rng.choice((b"", b"\r\n", _smuggled(rng, number)))


def _upgrade(rng: random.Random, number: int) -> bytes:
    fields = (b"Connection: Upgrade", b"Upgrade: " + rng.choice(UPGRADES))
    bodies = (
        _request(*fields, line=b"GET /api/version HTTP/1.1"),
        _request(*fields, body=b'{"model":"m"}'),
        _request(*fields, rng.choice(CODINGS), body=_chunked(b'{"model":"m"}'), length=False),
        _request(*fields, line=b"CONNECT localhost:80 HTTP/1.1"),
    )
    return rng.choice(bodies) + _smuggled(rng, number)


def _expect(rng: random.Random, number: int) -> bytes:
    expected = b"Expect: " + rng.choice(EXPECTATIONS)
    line = rng.choice((b"POST /api/chat", b"GET /api/version", b"POST /nothing"))
    body = rng.choice((b'{"model":"m"}', _smuggled(rng, number)))
    whole = _request(expected, body=body, line=line + b" HTTP/1.1")
    return whole if rng.random() < 0.7 else whole[: -len(body)]


def _trailers(rng: random.Random, number: int) -> bytes:
    names = (b"X-Trailer", b"Content-Length", b"Transfer-Encoding", b"Host", b"Authorization")
    trailers = b"".join(b"%b: 1\r\n" % rng.choice(names) for _ in range(rng.randrange(1, 4)))
    body = _chunked(b'{"model":"m"}', trailers=trailers)
    return _request(CODINGS[0], body=body, length=False) + rng.choice((b"", _smuggled(rng, number)))


def _sizes(rng: random.Random, number: int) -> bytes:
    """Sizes of chunks that are no hexadecimal numbers, or not only that."""
    piece = b'{"model":"m"}'
    sizes = (
        *(
            b"0xd",
            b"+d",
            b"-d",
            b" d",
            b"d ",
            b"D",
            b"0000d",
            b"d;x=y",
            b"d;x=\n",
            b"d\t",
            b"g",
            b"",
        ),
        *(b"", b"1000000000000000d", b"ffffffffffffffff", b'd;x="\\"', b"d;\r", b"d\r"),
    )
    ends = (b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"\r\r\n", b"")
    body = rng.choice(sizes) + rng.choice(ends) + piece + rng.choice(ends) + b"0\r\n\r\n"
    return _request(CODINGS[0], body=body + _smuggled(rng, number), length=False)


TRICKS: dict[str, Bytes] = {
    "CL.TE": _cl_te,
    "TE.CL": _te_cl,
    "TE.TE": _te_te,
    "CL.0": _cl_0,
    "two lengths": _two_lengths,
    "pipelined prefix": _pipelined,
    "upgrade": _upgrade,
    "expect": _expect,
    "trailers": _trailers,
    "chunk sizes": _sizes,
}
