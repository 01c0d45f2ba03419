"""Ways to ask for what only admins may: targets, methods and headers as no client writes them."""

from itertools import product
from random import Random

MANAGEMENT = (
    ("POST", "/api/pull"),
    ("POST", "/api/push"),
    ("POST", "/api/create"),
    ("POST", "/api/copy"),
    ("DELETE", "/api/delete"),
    ("POST", "/api/blobs/sha256:" + "ab" * 32),
    ("HEAD", "/api/blobs/sha256:" + "ab" * 32),
    ("POST", "/api/me"),
    ("POST", "/api/signout"),
    ("DELETE", "/api/user/keys/a"),
    ("POST", "/api/experimental/web_search"),
    ("POST", "/api/experimental/web_fetch"),
)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "post", "PROPFIND", "QUERY")
OVERRIDES = ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override")
SUBSTITUTES = ("X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Prefix", "X-Forwarded-Path")
_ENDS = ("", "/", "//", "/.", "/..", "/x/..", "?", "?x=/api/tags", "#", ";x", "%00", "%20", ".json")
_INSERTS = ("/", "./", "x/../", ";/", "%2f", "%2F", "%5c", "\\", "%2e/", "%2e%2e/", "%252f", "%00")
_FRONTS = ("", "/", "/.", "/api/tags/..", "/v1/..", "/k", "/k/", "/k/x", "http://127.0.0.1", "*")


def paths(rng: Random, path: str, count: int):
    """The path itself, and variants of it that some server somewhere takes for the same."""
    yield path
    for end, front in product(_ENDS, _FRONTS):
        yield front + path + end
    for _ in range(count - 1 - len(_ENDS) * len(_FRONTS)):
        yield rng.choice(_FRONTS[:3]) + _changed(rng, path) + rng.choice(_ENDS)


def _changed(rng: Random, path: str) -> str:
    share = rng.choice((0.05, 0.2, 1.0))
    return "".join(_written(rng, char) if rng.random() < share else char for char in path)


def _written(rng: Random, char: str) -> str:
    kind = rng.randrange(6)
    if kind == 0:
        return f"%{ord(char):02x}"
    if kind == 1:
        return f"%{ord(char):02X}"
    if kind == 2:
        return f"%25{ord(char):02x}"
    if kind == 3:
        return char.upper()
    if kind == 4 and char == "/":
        return "/" + rng.choice(_INSERTS)
    return {"s": "\u017f", "k": "\u212a", "/": "\uff0f"}.get(char, char)
