"""Request ids, and whose words a route speaks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.api.app import ROUTES
from ollama_fleet.api.visit import RequestIds, dialect_of
from ollama_fleet.router.dialect import Dialect

SANE = "abcXYZ019._~:/+=@-"


@given(st.text(alphabet=SANE, min_size=1, max_size=128))
def test_a_sane_id_of_the_client_is_kept(given_id):
    assert RequestIds(0.0, 0).of(given_id) == given_id


@pytest.mark.parametrize(
    "given_id", [None, "", "a b", "a" * 129, "ä", "a\n", "a,b", '"a"', "x-fleet_0"]
)
def test_any_other_request_gets_an_id_of_ours(given_id):
    made = RequestIds(1_700_000_000.0, 7).of(given_id)
    assert len(made) == 24
    assert set(made) <= set("0123456789abcdef")


@given(st.floats(1e9, 4e9), st.floats(1.0, 1e6), st.integers(0, 2**32 - 1))
def test_ids_of_ours_rise_within_a_start_and_from_one_to_the_next(started_s, later_s, salt):
    first, second = RequestIds(started_s, salt), RequestIds(started_s + later_s, salt)
    made = [first.of(None) for _ in range(300)] + [second.of(None)]
    assert made == sorted(set(made))


def test_two_starts_in_one_second_make_different_ids():
    assert RequestIds(5.0, 1).of(None) != RequestIds(5.0, 2).of(None)


def test_every_route_speaks_the_dialect_of_its_family():
    dialects = {path: dialect_of(path) for path in ROUTES}
    native = {path for path, dialect in dialects.items() if dialect is Dialect.OLLAMA}
    assert native == {path for path in ROUTES if "v1/" not in path}
    assert dialects["/v1/messages"] is Dialect.ANTHROPIC
    assert dialects["/v1/responses"] is Dialect.RESPONSES
    assert dialects["/v1/chat/completions"] is Dialect.OPENAI
