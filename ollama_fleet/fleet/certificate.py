"""The certificate of a running fleet: read, checked, and read again when its files change.

A renewal must need no restart, and one that went wrong must cost nothing: whoever connects gets
the last pair that was whole. One that has expired is used, too: some clients do not mind, and none
is served better by no answer. But its owner is told, and in time.
"""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ollama_fleet.config import TlsConfig
from ollama_fleet.control.validity import Standing, Validity, read_validity
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

    `wall` gives Unix time. Raises CertificateError if there is none to begin with.
    """

    def __init__(self, pair: Pair, wall: Callable[[], float] = time.time) -> None:
        self._pair, self._wall = pair, wall
        self._seen = _stamp(pair)
        self._context, self._validity = read_pair(pair)
        self._told = Standing.GOOD

    @classmethod
    def of(cls, config: TlsConfig) -> "Certificate | None":
        """That which a configuration names, if it does."""
        return cls(Pair(config.cert, config.key)) if config.cert and config.key else None

    def context(self) -> ssl.SSLContext:
        """With what to begin a handshake now."""
        return self._context

    def left_s(self) -> float | None:
        """How long it is still valid, in seconds, below zero where it is not; None: unknown."""
        return self._validity.ends_s - self._wall() if self._validity is not None else None

    @asynccontextmanager
    async def watched(
        self, notice: Callable[[Notice], None], *, look_s: float = LOOK_S
    ) -> AsyncIterator[None]:
        """Take new pairs while the block runs; `notice` is told of each, and of those refused.

        It is also told, at once and whenever that changes, where clients will not like the pair.
        """
        self._mind(notice)
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
            self._mind(notice)

    def _mind(self, notice: Callable[[Notice], None]) -> None:
        """Tell once of a certificate that is not valid yet, or soon, or any more."""
        if self._validity is None:
            return
        now_s = self._wall()
        before, self._told = self._told, self._validity.standing(now_s)
        if self._told is not before and (told := self._validity.told(now_s)):
            text = f"the certificate in {self._pair.cert} {told}"
            notice(Notice(kind=Kind.CERTIFICATE_EXPIRES, text=text))

    async def _take(self) -> Notice:
        """Read the pair; what has come of it."""
        try:
            self._context, self._validity = await asyncio.to_thread(read_pair, self._pair)
        except CertificateError as error:
            text = f"the new certificate is not used, the last one stays: {error.reason}"
            return Notice(kind=Kind.CERTIFICATE_REFUSED, text=text)
        self._told = Standing.GOOD  # of this one nothing has been told
        text = f"new connections get the new certificate in {self._pair.cert}"
        return Notice(kind=Kind.CERTIFICATE_RENEWED, text=text)


def read_pair(pair: Pair) -> tuple[ssl.SSLContext, Validity | None]:
    """A server's settings with that certificate, and its validity, where that can be read.

    Raises CertificateError with what is wrong.
    """
    pem = _require(pair.cert, b"-----BEGIN CERTIFICATE-----", "certificate")
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
    try:
        return context, read_validity(pem.decode(errors="replace"))
    except ValueError:  # OpenSSL takes it: it knows more forms than we read
        return context, None


class _Encrypted(Exception):
    """OpenSSL asks for a passphrase; left alone it would ask at the terminal."""


def _no_passphrase() -> str:
    raise _Encrypted


def _require(path: Path, mark: bytes, what: str) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CertificateError(f"{path} cannot be read: {error.strerror}", _WAY_OUT) from None
    if mark not in data:
        raise CertificateError(f"{path} holds no {what} in PEM form", _WAY_OUT)
    return data


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
