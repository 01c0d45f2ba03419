import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.api.app import ROUTES
from ollama_fleet.api.paths import MODEL_ROUTE, Found, Redirect, Unknown, locate


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
        ("/api/delete", Unknown()),
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
        assert place.path == MODEL_ROUTE or not place.model
