"""Whose word is taken on who asks: that of trusted proxies, from the right, and nobody else's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from ollama_fleet.api.proxies import UNKNOWN, Proxies

OURS = Proxies(("10.0.0.0/8", "192.168.1.7", "fd00::/8", "::1"))
PROXY = "10.0.0.1"


def asks(peer, *fields):
    return OURS.client(peer, CIMultiDictProxy(CIMultiDict(fields)))


def listed(text):
    return ("X-Forwarded-For", text)


@pytest.mark.parametrize(
    ("text", "client"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("1.2.3.4, 203.0.113.9", "203.0.113.9"),
        ("1.2.3.4, 203.0.113.9, 10.9.9.9", "203.0.113.9"),
        ("1.2.3.4,203.0.113.9,192.168.1.7,10.0.0.2", "203.0.113.9"),
        ("1.2.3.4, 203.0.113.9, 192.168.1.8", "192.168.1.8"),
        ("10.0.0.9, 10.0.0.8", "10.0.0.9"),
        ("203.0.113.9:4711", "203.0.113.9"),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("203.0.113.9, ::ffff:10.0.0.3", "203.0.113.9"),
        ("203.0.113.9, unknown", PROXY),
        ("203.0.113.9, unknown, 10.0.0.2", "10.0.0.2"),
        ("203.0.113.9,", PROXY),
        ("", PROXY),
        ("127.0.0.1' OR 1=1", PROXY),
        ("203.0.113.9\x1b[31m", PROXY),
        ("203.0.113.999", PROXY),
        ("fe80::1%\x1b[31m", "fe80::1"),
    ],
)
def test_the_first_address_from_the_right_that_is_no_proxy_of_ours_asks(text, client):
    assert asks(PROXY, listed(text)) == client


def test_lines_of_a_header_are_one_list():
    assert asks(PROXY, listed("1.2.3.4"), listed("203.0.113.9")) == "203.0.113.9"


@pytest.mark.parametrize(
    ("text", "client"),
    [
        ("for=203.0.113.9", "203.0.113.9"),
        ("For=203.0.113.9;proto=https;by=10.0.0.1", "203.0.113.9"),
        ("proto=http; for=203.0.113.9", "203.0.113.9"),
        ('for=1.2.3.4, for="[2001:db8::1]:4711"', "2001:db8::1"),
        ('for=203.0.113.9, for="10.0.0.7:80"', "203.0.113.9"),
        ("for=203.0.113.9, for=_hidden", PROXY),
        ("for=203.0.113.9, proto=http", PROXY),
        ("notfor=203.0.113.9", PROXY),
        ("for=[2001:db8::1]", "2001:db8::1"),
        ('for="203.0.113.9";host="x, for=1.2.3.4"', "203.0.113.9"),
        ('host="x;for=1.2.3.4";for=203.0.113.9', "203.0.113.9"),
        ('host="x\\", for=1.2.3.4;y=\\"";for=203.0.113.9', "203.0.113.9"),
        ('for=", for=203.0.113.9;host=", for=1.2.3.4"', UNKNOWN),
        ('for=", for=203.0.113.9;host=", for=1.2.3.4, x=\\""', UNKNOWN),
        ('for="1.2.3.4, for=203.0.113.9', UNKNOWN),
        ("for", UNKNOWN),
        ("", UNKNOWN),
    ],
)
def test_forwarded_is_read_alike(text, client):
    assert asks(PROXY, ("Forwarded", text)) == client


def test_headers_that_name_different_clients_name_none():
    """The proxy has written one of them, and may have passed the other on unread.

    Its client is not taken for the proxy itself, which may have any number of connections.
    """
    assert asks(PROXY, listed("203.0.113.9"), ("Forwarded", "for=203.0.113.9")) == "203.0.113.9"
    assert asks(PROXY, listed("203.0.113.9"), ("Forwarded", "for=1.2.3.4")) == UNKNOWN


addresses = st.one_of(st.ip_addresses().map(str), st.text(max_size=12))


@given(peer=addresses, text=st.lists(addresses, max_size=40).map(",".join))
def test_who_is_no_trusted_proxy_is_taken_for_what_it_is(peer, text):
    found = asks(peer, listed(text), ("Forwarded", text))
    assert found == peer or peer in OURS


@given(
    mine=st.ip_addresses().map(str).filter(lambda address: address not in OURS),
    forged=st.lists(addresses, max_size=8),
    hops=st.lists(st.sampled_from(["10.1.1.1", "192.168.1.7", "fd00::5"]), max_size=5),
)
def test_nothing_that_a_client_writes_makes_it_another(mine, forged, hops):
    """What it forges stands left of what the first of our proxies writes of it."""
    written = ", ".join((*forged, mine, *hops))
    found = asks("::1", listed(written))
    assert found == asks("::1", listed(mine))


def test_where_no_proxy_is_trusted_none_is():
    headers = CIMultiDictProxy(CIMultiDict([listed("203.0.113.9")]))
    assert Proxies().client("127.0.0.1", headers) == "127.0.0.1"
