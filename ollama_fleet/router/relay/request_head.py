"""The request's head as an instance gets it: our route, our Host, the client's own headers."""

from functools import lru_cache

from ollama_fleet.router.intake import Request
from ollama_fleet.tracing import Trace

_NOT_FORWARDED = frozenset(
    (
        b"host",
        b"origin",
        b"content-length",
        b"transfer-encoding",
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"upgrade",
        b"expect",
        b"access-control-request-method",
        b"access-control-request-headers",
        b"x-request-id",
        b"forwarded",  # who asks is the fleet's to know; Ollama would believe it
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-proto",
        b"x-forwarded-server",
        b"x-real-ip",
    )
)


def request_head(request: Request, host: bytes, trace: Trace | None = None) -> bytes:
    """Compose it, blank line included. End-to-end headers go on as the client wrote them.

    Where traces are made, `traceparent` names the attempt; else it is a header like any other.
    """
    kept_back = _NOT_FORWARDED if trace is None else _NOT_FORWARDED | trace.replaced
    lines = [_request_line(request.method, request.path), b"Host: " + host]
    named: list[bytes] = []
    for name, value in request.headers:
        folded = name.lower()
        if folded not in kept_back:
            lines.append(name + b": " + value)
        elif folded == b"connection":
            named += value.lower().split(b",")
    if named:
        lines = _without(lines, frozenset(token.strip() for token in named))
    if request.id:
        lines.append(b"X-Request-Id: " + request.id.encode())
    if trace is not None:
        lines.append(trace.header)
    body = request.body
    size = len(body) if isinstance(body, bytes) else body.size
    if size is None:
        lines.append(b"Transfer-Encoding: chunked")
    elif size or request.method != "GET":
        lines.append(b"Content-Length: %d" % size)
    lines.append(b"\r\n")
    return b"\r\n".join(lines)


@lru_cache(256)
def _request_line(method: str, path: str) -> bytes:
    return f"{method} {path} HTTP/1.1".encode()


def _without(lines: list[bytes], named: frozenset[bytes]) -> list[bytes]:
    """Drop the headers that Connection names; the first two lines are ours."""
    ours, theirs = lines[:2], lines[2:]
    return ours + [line for line in theirs if line.partition(b":")[0].lower() not in named]
