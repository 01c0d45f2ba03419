"""The certificate of a running fleet: read, checked, and read again when its files change.

A renewal must need no restart, and one that went wrong must cost nothing: whoever connects gets
the last pair that was whole.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ollama_fleet.config import TlsConfig
from ollama_fleet.errors import CertificateError
from ollama_fleet.state import Kind, Notice

LOOK_S: Final = 2.0  # between two looks at the files

_PROTOCOLS: Final = ("http/1.1",)
_WAY_OUT: Final = "`tls.cert` and `tls.key` are files in PEM form that belong together"

Stamp = tuple[tuple[int, int, int, int], ...]
"""What tells that files are others than before, or may be read by others: of each its place, its
size, and when it was written and changed."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its key, on disk."""

    cert: Path
    key: Path

    def stamp(self) -> Stamp:
        """How they stand now; raises OSError where one is not there."""
        found = (path.stat() for path in (self.cert, self.key))
        return tuple(
            (each.st_ino, each.st_size, each.st_mtime_ns, each.st_ctime_ns) for each in found
        )


class Certificate:
    """Answers with `context` who asks for it: that of the last pair that was whole.

    Raises CertificateError if there is none to begin with.
    """

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self._seen = _stamp(pair)
        self._context = read_pair(pair)

    @classmethod
    def of(cls, config: TlsConfig) -> "Certificate | None":
        """That which a configuration names, if it does."""
        return cls(Pair(config.cert, config.key)) if config.cert and config.key else None

    def context(self) -> ssl.SSLContext:
        """With what to begin a handshake now."""
        return self._context

    @asynccontextmanager
    async def watched(
        self, notice: Callable[[Notice], None], *, look_s: float = LOOK_S
    ) -> AsyncIterator[None]:
        """Take new pairs while the block runs; `notice` is told of each, and of those refused."""
        watching = asyncio.create_task(self._watch(notice, look_s), name="certificate")
        try:
            yield
        finally:
            watching.cancel()

    async def _watch(self, notice: Callable[[Notice], None], look_s: float) -> None:
        """Look at the files; they are read when they have stood still for the length of a look."""
        before = self._seen
        while True:
            await asyncio.sleep(look_s)
            now = await asyncio.to_thread(_stamp, self._pair)
            if now == before and now != self._seen:
                self._seen = now
                notice(await self._take())
            before = now

    async def _take(self) -> Notice:
        """Read the pair; what has come of it."""
        try:
            self._context = await asyncio.to_thread(read_pair, self._pair)
        except CertificateError as error:
            text = f"the new certificate is not used, the last one stays: {error.reason}"
            return Notice(kind=Kind.CERTIFICATE_REFUSED, text=text)
        text = f"new connections get the new certificate in {self._pair.cert}"
        return Notice(kind=Kind.CERTIFICATE_RENEWED, text=text)


def read_pair(pair: Pair) -> ssl.SSLContext:
    """A server's settings with that certificate. Raises CertificateError with what is wrong."""
    _require(pair.cert, b"-----BEGIN CERTIFICATE-----", "certificate")
    _require(pair.key, b"PRIVATE KEY-----", "private key")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(_PROTOCOLS)
    try:
        context.load_cert_chain(pair.cert, pair.key, password=_no_passphrase)
    except ssl.SSLError as error:
        raise CertificateError(_reason(pair, error), _WAY_OUT) from None
    except OSError as error:
        raise CertificateError(f"{pair.cert}: {error.strerror}", _WAY_OUT) from None
    except _Encrypted:
        raise CertificateError(
            f"{pair.key} is protected by a passphrase, which nobody could enter",
            "write it without: openssl pkey -in OLD -out NEW",
        ) from None
    return context


class _Encrypted(Exception):
    """OpenSSL asks for a passphrase; left alone it would ask at the terminal."""


def _no_passphrase() -> str:
    raise _Encrypted


def _require(path: Path, mark: bytes, what: str) -> None:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CertificateError(f"{path} cannot be read: {error.strerror}", _WAY_OUT) from None
    if mark not in data:
        raise CertificateError(f"{path} holds no {what} in PEM form", _WAY_OUT)


def _reason(pair: Pair, error: ssl.SSLError) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"the key {pair.key} does not belong to the certificate {pair.cert}"
    words = (error.reason or "it is damaged").lower().replace("_", " ")
    return f"{pair.cert} and {pair.key} cannot be used: {words}"


def _stamp(pair: Pair) -> Stamp:
    try:
        return pair.stamp()
    except OSError:
        return ()
