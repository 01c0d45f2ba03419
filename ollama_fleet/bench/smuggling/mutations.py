"""Random changes of bytes that are to be HTTP: what parsers have been found to disagree about."""

import random
import re
from collections.abc import Callable

Change = Callable[[random.Random, bytes], bytes]

_NASTY = (
    *(b"\r", b"\n", b"\r\n", b"\t", b" ", b"\0", b"\x0b", b"\x0c", b"\x7f", b"\x85", b"\xa0"),
    *(b",", b";", b":", b'"', b"+", b"-", b"0", b"1", b"x", b"_", b"#", b"%", b"\\", b"\xff"),
)
_ENDS = (b"\n", b"\r", b"\r\r\n", b"\n\r", b" \r\n", b"\t\r\n", b"\r\n\r\n", b"")
_VERSIONS = (b"1.0", b"1.0", b"2.0", b"1.2", b"0.9", b"1.10", b"1", b"1.1 ", b"01.1")
_NUMBERS = (
    b"+%b",
    b"-%b",
    b"0%b",
    b" %b",
    b"%b ",
    b"0x%b",
    b"%b.0",
    b"%b, %b",
    b"%b0",
    b"%b\t",
    b"",
)
_ADDED = (
    *(
        b"Connection: close",
        b"Connection: keep-alive",
        b"Connection: content-length",
        b"Host: evil",
    ),
    *(
        b"Content-Length: 0",
        b"Content-Length: 5",
        b"Content-Length:",
        b"Transfer-Encoding: chunked",
    ),
    *(b"X-HTTP-Method-Override: DELETE", b"Keep-Alive: timeout=1", b" folded: yes", b"No colon"),
    *(b"Upgrade: h2c\r\nConnection: upgrade", b"Expect: 100-continue", b"TE: trailers", b": empty"),
)


def mutate(rng: random.Random, data: bytes) -> bytes:
    """Change one thing."""
    return rng.choice(_CHANGES)(rng, data)


def _insert(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data) + 1)
    return data[:at] + rng.choice(_NASTY) + data[at:]


def _replace(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + rng.choice(_NASTY) + data[at + 1 :]


def _delete(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data))
    return data[:at] + data[at + rng.choice((1, 1, 2, 5)) :]


def _repeat(rng: random.Random, data: bytes) -> bytes:
    at = rng.randrange(len(data))
    end = at + rng.randrange(1, 40)
    return data[:end] + data[at:]


def _end_of_line(rng: random.Random, data: bytes) -> bytes:
    return _at_random(rng, rb"\r\n", data, lambda _: rng.choice(_ENDS))


def _version(rng: random.Random, data: bytes) -> bytes:
    return _at_random(rng, rb"(?<=HTTP/)1\.1", data, lambda _: rng.choice(_VERSIONS))


def _number(rng: random.Random, data: bytes) -> bytes:
    """Write a length or a chunk's size otherwise."""

    def rewritten(number: bytes) -> bytes:
        form = rng.choice(_NUMBERS)
        return form.replace(b"%b", number)

    return _at_random(rng, rb"(?<=: )\d+(?=\r\n)|(?<=\r\n)[0-9a-f]+(?=\r\n)", data, rewritten)


def _name(rng: random.Random, data: bytes) -> bytes:
    """Write a field's name otherwise."""
    forms: tuple[Callable[[bytes], bytes], ...] = (
        bytes.swapcase,
        lambda name: name + b" ",
        lambda name: name + b"\t",
        lambda name: b" " + name,
        lambda name: name.replace(b"-", b"_"),
        lambda name: name + b"\0",
        lambda name: b"\x0b" + name,
    )
    return _at_random(rng, rb"(?<=\n)[A-Za-z-]+(?=:)", data, rng.choice(forms))


def _field(rng: random.Random, data: bytes) -> bytes:
    return _at_random(
        rng, rb"\r\n(?=[A-Za-z-]+:)", data, lambda e: e + rng.choice(_ADDED) + b"\r\n"
    )


def _twice(rng: random.Random, data: bytes) -> bytes:
    return _at_random(rng, rb"(?<=\n)[A-Za-z-]+:[^\r\n]*\r\n", data, lambda line: line + line)


_CHANGES: tuple[Change, ...] = (
    *(_insert, _replace, _delete, _repeat, _end_of_line),
    *(_version, _number, _name, _field, _twice),
)


def _at_random(
    rng: random.Random, pattern: bytes, data: bytes, change: Callable[[bytes], bytes]
) -> bytes:
    """Change one occurrence of a pattern, if there is one."""
    found = list(re.finditer(pattern, data))
    if not found:
        return data
    chosen = rng.choice(found)
    return data[: chosen.start()] + change(chosen[0]) + data[chosen.end() :]
