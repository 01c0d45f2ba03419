"""The requests that one Ollama and the router must answer alike: records, and how one is written.

The rows themselves are in rows_*.py. All speak of the same models that a simulated store and a real
one both have: `tiny` (completion), `tiny-embed` (embedding) and `caller` (calls tools).
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

CHAT, EMBED, CALLER, UNKNOWN = "tiny", "tiny-embed", "caller", "nope"
SAID = [{"role": "user", "content": "hello there"}]
EXACT = {"seed": 7, "temperature": 0}
SHORT = {"num_predict": 4, **EXACT}

Header = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Sent:
    """One request as it goes out. `headers` replaces what `Row.raw` would add of the same name."""

    method: str
    target: str
    body: bytes | None = None
    headers: tuple[Header, ...] = ()
    version: str = "HTTP/1.1"

    def raw(self, port: int, *, last: bool) -> bytes:
        """Its bytes; the last one of a connection asks to close it."""
        given = {name.lower() for name, _ in self.headers}
        usual: list[Header] = [("Host", f"127.0.0.1:{port}")]
        if last:
            usual.append(("Connection", "close"))
        if self.body is not None and "transfer-encoding" not in given:
            usual.append(("Content-Length", str(len(self.body))))
        chosen = [h for h in usual if h[0].lower() not in given] + list(self.headers)
        lines = [f"{self.method} {self.target} {self.version}"]
        lines += [f"{name}: {value}" for name, value in chosen if value]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + (self.body or b"")


@dataclass(frozen=True, slots=True)
class Row:
    """Requests on one connection, and of the last answer: its status, whether it is a stream.

    `deterministic`: bodies must be equal to the byte but for times and ids. `says` is a part of the
    last answer's body. `on` names the kinds of Ollama that it may be asked of: `sim`, `real`.
    """

    name: str
    sent: tuple[Sent, ...]
    status: int = 200
    stream: bool = False
    deterministic: bool = True
    says: bytes = b""
    on: frozenset[str] = frozenset(("sim", "real"))

    def raw(self, port: int) -> bytes:
        """All bytes of the connection."""
        last = len(self.sent) - 1
        return b"".join(sent.raw(port, last=i == last) for i, sent in enumerate(self.sent))

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods, in order."""
        return tuple(sent.method for sent in self.sent)


def get(name: str, target: str, status: int = 200, *, method: str = "GET", **more: Any) -> Row:
    """A request without a body. `more`: headers, version, and fields of Row."""
    sent = {key: more.pop(key) for key in ("headers", "version") if key in more}
    return Row(name, (Sent(method, target, **sent),), status, **more)


def post(
    name: str, target: str, body: Mapping[str, Any] | bytes, status: int = 200, **more: Any
) -> Row:
    """A request with a body: bytes as they are, a mapping as JSON. `more` as in `get`."""
    sent = {key: more.pop(key) for key in ("headers", "version") if key in more}
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    method = more.pop("method", "POST")
    return Row(name, (Sent(method, target, content, **sent),), status, **more)


def one_after_another(name: str, rows: Iterable[Row], status: int = 200, **more: Any) -> Row:
    """Several requests on one connection, written at once."""
    return Row(name, tuple(sent for row in rows for sent in row.sent), status, **more)


def only(kind: str, *rows: Row) -> tuple[Row, ...]:
    """These rows for one kind of Ollama."""
    return tuple(replace(row, on=frozenset((kind,))) for row in rows)
