"""Where a request's target leads: one canonical path, decided once. Pure.

Follows what Ollama's server does (Go's ServeMux before gin): percent escapes are decoded once, an
unclean path is redirected to the clean one, a trailing slash to the path without it.
"""

import posixpath
import re
from collections.abc import Container, Mapping
from urllib.parse import quote, unquote_to_bytes

import msgspec


class Found(msgspec.Struct, frozen=True, gc=False):
    """A path of the route table; `name` is the last part, decoded, of a path that names a thing."""

    path: str
    name: str = ""


class Redirect(msgspec.Struct, frozen=True, gc=False):
    """The clean path to ask for instead, and the status to say so with."""

    status: int
    location: str


class Unknown(msgspec.Struct, frozen=True, gc=False):
    """No route; `malformed` if it is no path at all."""

    malformed: bool = False


# No leading slash, so that no path can be equal to one of them.
MODEL_ROUTE = "v1/models/:model"
BLOB_ROUTE = "api/blobs/:digest"
KEY_ROUTE = "api/user/keys/:key"
_NAMING = {f"/{route.partition(':')[0]}": route for route in (MODEL_ROUTE, BLOB_ROUTE, KEY_ROUTE)}
_BAD_ESCAPE = re.compile(r"%(?![0-9a-fA-F]{2})")

Routes = Mapping[str, Container[str]]  # a path's methods


def locate(target: str, method: str, routes: Routes) -> Found | Redirect | Unknown:
    """Find a request target (as the client wrote it, query and all) in a route table."""
    if target[:1] == "/" and target in routes:
        return Found(target)  # as almost every target is: written as the route is
    raw, mark, query = target.partition("?")
    if not raw.startswith("/") or _BAD_ESCAPE.search(raw):
        return Unknown(malformed=True)
    clean = _clean(raw)
    if clean != raw:  # Go cleans the escaped path, and escapes the result once more
        return Redirect(307, quote(clean, _UNESCAPED) + mark + query)
    path = unquote_to_bytes(raw).decode(errors="replace")
    found = _match(path, routes)
    if found is not None:
        return found
    bare = _match(path.removesuffix("/"), routes) if path.endswith("/") else None
    if bare is None or method not in routes[bare.path]:
        return Unknown()
    return Redirect(301 if method == "GET" else 307, quote(path[:-1], _UNESCAPED) + mark + query)


def escaped(found: Found) -> str:
    """The path to ask an instance for: our own route, the name in it escaped anew.

    Dots are escaped too, lest the name be taken for a way up.
    """
    if not found.name:
        return found.path
    name = quote(found.name, safe=":").replace(".", "%2E")
    return f"/{found.path.partition(':')[0]}{name}"


_UNESCAPED = "/$&+,;=:@"  # Go leaves these as they are in a path


def _match(path: str, routes: Routes) -> Found | None:
    if path in routes:
        return Found(path)
    parent, slash, name = path.rpartition("/")
    route = _NAMING.get(parent + slash)
    return Found(route, name) if route is not None and name else None


def _clean(path: str) -> str:
    """Go's path.Clean for a rooted path, a trailing slash kept as ServeMux keeps it."""
    clean = "/" + posixpath.normpath(path).lstrip("/")
    return clean + "/" if path.endswith("/") and clean != "/" else clean
