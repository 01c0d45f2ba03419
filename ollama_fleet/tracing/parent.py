"""The W3C trace context of a request: `traceparent`, read from its client and written for others.

https://www.w3.org/TR/trace-context-2/; what is not valid counts as not there. Pure.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

SAMPLED: Final = 0x01
RANDOM: Final = 0x02  # the trace id's lower 56 bits are random, says who made it

_FORM: Final = re.compile(
    rb"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})"
    rb"(?P<more>-.*)?",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Parent:
    """The span of the client that a request belongs to: 128 bits of trace, 64 of span."""

    trace_id: int
    span_id: int
    flags: int


def parent_of(headers: Iterable[tuple[bytes, bytes]]) -> Parent | None:
    """The client's span, if its headers name exactly one."""
    told = [value for name, value in headers if name.lower() == b"traceparent"]
    return read(told[0]) if len(told) == 1 else None


def read(value: bytes) -> Parent | None:
    """Read a `traceparent`. Of a later version what this one has is read, the rest passed over."""
    found = _FORM.fullmatch(value.strip(b" \t"))
    if found is None or found["version"] == b"ff":
        return None
    if found["version"] == b"00" and found["more"] is not None:
        return None
    parent = Parent(int(found["trace"], 16), int(found["span"], 16), int(found["flags"], 16))
    return parent if parent.trace_id and parent.span_id else None


def written(trace_id: int, span_id: int, flags: int) -> bytes:
    """The value of a `traceparent`."""
    return b"00-%032x-%016x-%02x" % (trace_id, span_id, flags)
