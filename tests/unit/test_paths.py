import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.api.app import ROUTES
from ollama_fleet.api.paths import (
    BLOB_ROUTE,
    KEY_ROUTE,
    MODEL_ROUTE,
    Found,
    Redirect,
    Unknown,
    escaped,
    locate,
)


@pytest.mark.parametrize(
    ("target", "found"),
    [
        ("/api/tags", Found("/api/tags")),
        ("/api/tags?x=1", Found("/api/tags")),
        ("/api/%74ags", Found("/api/tags")),
        ("/api%2ftags", Found("/api/tags")),
        ("/", Found("/")),
        ("/v1/models/llama3:8b", Found(MODEL_ROUTE, "llama3:8b")),
        ("//api/tags", Redirect(307, "/api/tags")),
        ("/api/./tags?a=b", Redirect(307, "/api/tags?a=b")),
        ("/api/x/../tags", Redirect(307, "/api/tags")),
        ("/api/%2e%2e/api/tags", Unknown()),
        ("/api/tags/", Redirect(301, "/api/tags")),
        ("/v1/models/", Redirect(301, "/v1/models")),
        ("/API/tags", Unknown()),
        ("/api/blobs/sha256:ab", Found(BLOB_ROUTE, "sha256:ab")),
        ("/api/blobs/sha256%3Aab", Found(BLOB_ROUTE, "sha256:ab")),
        ("/api/blobs/", Unknown()),
        ("/api/blobs", Unknown()),
        ("/api/blobs/a/b", Unknown()),
        ("/api/user/keys/abc", Found(KEY_ROUTE, "abc")),
        ("/api/delete/x", Unknown()),
        ("/debug/pprof", Unknown()),
        ("/v1/models/a%2fb", Unknown()),
        ("/api/tags%00", Unknown()),
        ("/api/%ff", Unknown()),
        ("http://169.254.169.254/latest", Unknown(malformed=True)),
        ("*", Unknown(malformed=True)),
        ("evil:80", Unknown(malformed=True)),
    ],
)
def test_where_a_target_leads(target, found):
    assert locate(target, "GET", ROUTES) == found


def test_a_trailing_slash_is_redirected_with_the_method_kept():
    assert locate("/api/chat/", "POST", ROUTES) == Redirect(307, "/api/chat")


@given(st.text(alphabet="/.%2eEfF0apitgs?#\\", max_size=20))
def test_a_path_is_found_only_if_it_is_in_the_table(text):
    place = locate("/" + text, "GET", ROUTES)
    if isinstance(place, Found):
        assert place.path in ROUTES
        assert place.path in NAMING or not place.name


NAMING = (MODEL_ROUTE, BLOB_ROUTE, KEY_ROUTE)


@given(st.sampled_from(NAMING), st.text(min_size=1))
def test_a_name_in_a_path_is_the_same_to_the_instance_and_is_nothing_but_a_name(route, name):
    """What is forwarded is clean, is found again as what it was, and is ASCII without a blank."""
    name = name.replace("/", "").encode(errors="replace").decode() or "x"
    path = escaped(Found(route, name))
    assert locate(path, "GET", ROUTES) == Found(route, name)
    assert path.isascii()
    assert not set(path) & set(" ?#\\\r\n")


def test_an_unescaped_redirect_is_escaped_as_go_escapes():
    """By net/url's rules for a path, which leave more signs alone than Python's."""
    target = "/v1/models/a$b&c+d,e;f=g:h@i'j(k)l*m!n~o%7Cp/"
    location = "/v1/models/a$b&c+d,e;f=g:h@i%27j%28k%29l%2Am%21n~o%7Cp"
    assert locate(target, "GET", ROUTES) == Redirect(301, location)
