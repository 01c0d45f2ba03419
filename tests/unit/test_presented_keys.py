"""A key is found wherever a client may put it, and is nowhere behind that."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.api.auth.presented import Presented, digest, new_key, take_key

KEY = "fleet_" + "0123456789abcdef" * 2 + "01234567"  # as long as one of ours


def request(target="/api/tags", **headers):
    raw = tuple((n.replace("_", "-").encode(), v.encode()) for n, v in headers.items())
    return SimpleNamespace(target=target, raw_headers=raw)


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {KEY}"},
        {"authorization": f"bearer   {KEY} "},
        {"AUTHORIZATION": KEY},
        {"X_Api_Key": KEY},
        {"x_api_key": KEY, "Authorization": "Bearer ollama"},
    ],
)
def test_a_header_with_a_key_is_taken_off(headers):
    asked = request(**headers, Accept="*/*")
    assert take_key(asked) == Presented(KEY)
    assert KEY not in repr(asked)
    assert (b"Accept", b"*/*") in asked.raw_headers


@pytest.mark.parametrize(
    ("target", "left"),
    [
        (f"/k/{KEY}/api/chat", "/api/chat"),
        (f"/k/{KEY}/v1/models/a%2Fb?x=1", "/v1/models/a%2Fb?x=1"),
        (f"/k/{KEY}", "/"),
        (f"/k/{KEY}/", "/"),
        (f"/k/{KEY}?x", "/?x"),
        (f"/k/{KEY}//api/tags", "//api/tags"),
    ],
)
def test_a_path_is_what_stands_behind_its_key(target, left):
    asked = request(target)
    assert take_key(asked) == Presented(KEY, f"/k/{KEY}")
    assert asked.target == left


@pytest.mark.parametrize("target", ["/k/", "/k/other/api/tags", f"/K/{KEY}/api/tags", f"//k/{KEY}"])
def test_what_is_no_key_in_a_path_stays_there(target):
    asked = request(target)
    assert take_key(asked) == Presented()
    assert asked.target == target


def test_the_key_in_the_path_is_the_one_that_counts():
    other = new_key()
    asked = request(f"/k/{KEY}/api/tags", Authorization=f"Bearer {other}")
    assert take_key(asked).key == KEY
    assert asked.raw_headers == ()


def test_other_headers_lose_keys_too_and_keep_all_else():
    """A browser tells where it comes from; a session of that name is nobody's key."""
    asked = request(Referer=f"http://box/k/{KEY}/", Cookie="fleet_session=1", X_Other=KEY)
    assert take_key(asked) == Presented()
    assert asked.raw_headers == ((b"Cookie", b"fleet_session=1"),)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"Authorization", b"x-api-key", b"Cookie", b"X"]),
            st.sampled_from([b"", b"Bearer ", b"Basic ", b"a="]),
            st.booleans(),
        ),
        max_size=6,
    ),
    st.booleans(),
)
def test_no_key_is_left_wherever_they_stand(fields, in_path):
    """Repeated headers, schemes that are none: not one key goes on."""
    raw = tuple((n, p + (KEY.encode() if has else b"x")) for n, p, has in fields)
    asked = SimpleNamespace(target=f"/k/{KEY}/x" if in_path else "/x", raw_headers=raw)
    take_key(asked)
    assert KEY not in repr(asked)
    assert [f for f in raw if KEY.encode() not in f[1]] == list(asked.raw_headers)


def test_keys_have_160_bits_and_their_digests_need_the_secret():
    assert len({new_key() for _ in range(1000)}) == 1000
    assert len(KEY.removeprefix("fleet_")) * 4 == 160
    assert digest(b"a", KEY) != digest(b"b", KEY) != digest(b"b", new_key())
