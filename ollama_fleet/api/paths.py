"""Where a request's target leads: one canonical path, decided once. Pure.

Follows what Ollama's server does (Go's ServeMux before gin): percent escapes are decoded once, an
unclean path is redirected to the clean one, a trailing slash to the path without it.
"""

import posixpath
from collections.abc import Container
from dataclasses import dataclass
from urllib.parse import quote, unquote_to_bytes


@dataclass(frozen=True, slots=True)
class Found:
    """A path of the route table; `model` is the last part of a path that names one."""

    path: str
    model: str = ""


@dataclass(frozen=True, slots=True)
class Redirect:
    """The clean path to ask for instead, and the status to say so with."""

    status: int
    location: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """No route; `malformed` if it is no path at all."""

    malformed: bool = False


MODEL_ROUTE = "v1/models/:model"  # no leading slash, so that no path can be equal to it
_MODEL_PREFIX = "/v1/models/"


def locate(target: str, method: str, routes: Container[str]) -> Found | Redirect | Unknown:
    """Find a request target (as the client wrote it, query and all) in a route table."""
    raw, _, query = target.partition("?")
    path = _decode(raw)
    if path is None:
        return Unknown(malformed=True)
    clean = _clean(path)
    if clean != path:
        return Redirect(307, quote(clean) + (f"?{query}" if query else ""))
    return _match(path, method, routes)


def _decode(raw: str) -> str | None:
    """The path's percent escapes decoded once; None if it is not a path in origin form."""
    if not raw.startswith("/"):
        return None  # absolute form, authority form, `*`
    try:
        path = unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        return None
    return None if any(ord(c) < 0x20 or c == "\x7f" for c in path) else path


def _match(path: str, method: str, routes: Container[str]) -> Found | Redirect | Unknown:
    if path in routes:
        return Found(path)
    bare = path.rstrip("/")
    if path != bare and bare in routes:
        return Redirect(301 if method == "GET" else 307, quote(bare))
    model = path.removeprefix(_MODEL_PREFIX)
    if model != path and model and "/" not in model:
        return Found(MODEL_ROUTE, model)
    return Unknown()


def _clean(path: str) -> str:
    """Go's path.Clean for a rooted path, a trailing slash kept as ServeMux keeps it."""
    clean = "/" + posixpath.normpath(path).lstrip("/")
    return clean + "/" if path.endswith("/") and clean != "/" else clean
