"""However a path is written, it leads to a route of the table, back to one, or nowhere.

A table of some tens of thousands of targets: every route, bent in every way that some server or
other has been found to see through, and two of these at a time.
"""

import random
import re
from itertools import product
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ollama_fleet.api.app import ROUTES
from ollama_fleet.api.paths import Found, Redirect, Unknown, escaped, locate

METHODS = ("GET", "HEAD", "POST", "DELETE", "PUT", "PATCH", "OPTIONS", "TRACE", "CONNECT", "PURGE")
NAMES = ("tiny", "llama3:8b", "sha256:" + "0" * 64, "a.b", "%2e%2e", "a%252fb", "x%00", "..;", "é")
PREFIXES = tuple(f"/{route.partition(':')[0]}" for route in ROUTES if ":" in route)
FIXED = tuple(route for route in ROUTES if ":" not in route)
CANONICAL = (*FIXED, *(prefix + name for prefix, name in product(PREFIXES, NAMES)))


def _one(pattern, change):
    """Change the first and the last match of a pattern."""

    def bend(path, rng):
        found = list(re.finditer(pattern, path))
        if not found:
            return path
        at = rng.choice((found[0], found[-1]))
        return path[: at.start()] + change(at[0]) + path[at.end() :]

    return bend


def _escape(char):
    return "".join(f"%{byte:02x}" for byte in char.encode())


def _around(before="", after=""):
    return lambda path, _rng: before + path + after


BENDS = (
    _around(),
    lambda path, _rng: path.upper(),
    lambda path, _rng: path.title(),
    lambda path, _rng: path.replace("/", "//"),
    lambda path, _rng: path.replace("/", "\\"),
    lambda path, _rng: "".join(map(_escape, path)),
    _one(r"[a-z]", str.upper),
    _one(r"[a-z]", _escape),
    _one(r"[a-z]", lambda char: _escape(char).upper()),
    _one(r"[a-z]", lambda char: _escape(char).replace("%", "%25")),
    _one(r"[a-z]", lambda char: chr(ord(char) + 0xFEE0)),
    _one(r"[a-z]", lambda char: f"%u00{ord(char):02x}"),
    *(
        _one("/", lambda _, written=written: written)
        for written in (
            *("//", "/./", "/../", "/x/../", "/%2e/", "/%2e%2e/", "/.%2e/", "%2f", "%2F", "%252f"),
            *("\\", "%5c", "/;/", "/..;/", "/;x=y/", "%c0%af", "%ef%bc%8f", "/%20/", "/%00/"),
            *("/%0d%0a/", "/\t/", "/*/", "/api/", "/v1/", "/@", "///", "/?/", "/#/"),
        )
    ),
    *(
        _around(after=written)
        for written in (
            *("/", "//", "/.", "/..", "/../", "/%2e", "/%2e%2e", ".", "..", "%2e", "%2f", "%5c"),
            *(
                ";",
                ";x",
                ";x=y",
                "%3bx",
                "%00",
                "%00.html",
                "%0a",
                "%0d%0aX:y",
                "%20",
                "+",
                ".json",
            ),
            *(
                "?",
                "?x=1",
                "?/../",
                "?%00",
                "#",
                "#x",
                "%23",
                "%3f",
                "%",
                "%z",
                "%zz",
                "*",
                "~",
                "é",
            ),
            *(
                "/x",
                "/tiny",
                "/../tags",
                "/../../api/pull",
                "/..;/delete",
                "\\..\\delete",
                "&x",
                "=1",
            ),
        )
    ),
    *(
        _around(before=written)
        for written in (
            *(
                "/",
                "//",
                "/.",
                "/..",
                "/x/..",
                "/%2e",
                "/%2e%2e",
                "/api",
                "/v1",
                "/k/key",
                "\\",
                ".",
            ),
            *("%2f", "%5c", "/;", "/%00", "http://x", "//x", "x", "x:80", "*", "?", "#", "@x", " "),
        )
    ),
)


def table():
    """Every canonical path bent by one thing, then by two at random."""
    rng = random.Random(11)
    for path, bend in product(CANONICAL, BENDS):
        yield bend(path, rng)
    for _ in range(25_000):
        first, second = rng.choice(BENDS), rng.choice(BENDS)
        yield second(first(rng.choice(CANONICAL), rng), rng)


TARGETS = tuple(dict.fromkeys(table()))


def hold(target, method):
    """The laws of one decision; the decision."""
    place = locate(target, method, ROUTES)
    if isinstance(place, Found):
        assert place.path in ROUTES
        hold_found(target, place)
    elif isinstance(place, Redirect):
        assert place.status in (301, 307)
        assert re.fullmatch(r"/([^/\\\x00-\x20\x7f].*)?", place.location), "it stays on this server"
    else:
        assert isinstance(place, Unknown)
    return place


def hold_found(target, found):
    """Decoded once, the target is the route; what is asked of an instance is ours."""
    decoded = unquote_to_bytes(target.partition("?")[0]).decode(errors="replace")
    asked = escaped(found)
    if found.path in FIXED:
        assert asked == found.path == decoded
        return
    prefix = f"/{found.path.partition(':')[0]}"
    assert decoded == prefix + found.name
    assert re.fullmatch(r"(?:[A-Za-z0-9_~:-]|%[0-9A-F]{2})+", asked.removeprefix(prefix))
    assert unquote_to_bytes(asked).decode() == decoded


def test_the_table_is_as_large_as_it_is_said_to_be():
    assert len(TARGETS) >= 20_000


@pytest.mark.parametrize("method", METHODS)
def test_only_a_route_of_the_table_is_ever_asked_for(method):
    kinds = {type(hold(target, method)) for target in TARGETS}
    assert kinds == {Found, Redirect, Unknown}


def test_a_redirect_leads_to_a_decision_at_once_or_by_one_more():
    for target in TARGETS:
        place, hops = locate(target, "GET", ROUTES), 0
        while isinstance(place, Redirect):
            place, hops = locate(place.location, "GET", ROUTES), hops + 1
            assert hops <= 2, target


@pytest.mark.parametrize("route", ROUTES)
def test_a_canonical_path_leads_to_its_own_route(route):
    if route in FIXED:
        assert locate(route, "GET", ROUTES) == Found(route)
    else:
        assert locate(f"/{route.partition(':')[0]}tiny", "GET", ROUTES) == Found(route, "tiny")


@settings(max_examples=500, deadline=None)
@given(st.text(max_size=60), st.sampled_from(METHODS))
def test_no_text_at_all_leads_elsewhere(text, method):
    hold("/" + text, method)


@settings(max_examples=500, deadline=None)
@given(st.text(alphabet="/.%2eEfF05cCapivtgs1?#\\;:", max_size=24))
def test_nor_does_any_play_with_dots_slashes_and_escapes(text):
    hold("/" + text, "POST")
