"""Who may call the front: Host and Origin, judged as Ollama does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.api.guests import Door, Origins, is_loopback, is_own_name

NAMES = frozenset({"box"})
MINE = "203.0.113.9"


def door(*origins, hostnames=NAMES):
    return Door(Origins(origins), hostnames, lambda: frozenset({MINE}))


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("localhost:11434", True),
        ("LOCALHOST", True),
        ("localhost:", True),
        ("127.0.0.1", True),
        ("[::1]:11434", True),
        ("::1", True),
        ("[::ffff:127.0.0.1]:80", True),
        ("192.168.1.7:80", True),
        ("10.0.0.1", True),
        ("172.31.0.1", True),
        ("[fd00::1]:80", True),
        ("0.0.0.0", True),
        ("box", True),
        ("BOX:11434", True),
        ("nas.local", True),
        ("ollama.internal", True),
        ("a.localhost", True),
        (f"{MINE}:80", True),
        ("", True),
        ("lb", False),
        ("[::1]", False),
        ("evil.example", False),
        ("8.8.8.8", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("172.32.0.1", False),
        ("[2001:db8::1]:80", False),
        ("localhost.evil.example", False),
        ("evil.example:11434", False),
        ("box:1:2", False),
    ],
)
def test_hosts_are_judged_as_ollama_judges_them(host, allowed):
    assert door().judge("GET", "", host).status == (0 if allowed else 403)


def test_where_others_can_reach_the_front_any_host_may_be_right():
    """As Ollama where it listens on more than loopback."""
    assert door(hostnames=None).judge("GET", "", "evil.example").status == 0
    assert door(hostnames=None).judge("OPTIONS", "", "localhost").status == 0


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("", True),
        ("http://localhost:3000", True),
        ("https://127.0.0.1", True),
        ("http://0.0.0.0:1", True),
        ("http://localhost:11434", True),
        ("app://obsidian.md", True),
        ("vscode-webview://x", True),
        ("http://evil.example", False),
        ("HTTP://localhost", False),
        ("http://[::1]:3000", False),
        ("https://localhost.evil.example", False),
        ("http://[", False),
        ("null", False),
        ("chrome-extension://abc", False),
    ],
)
def test_origins_are_judged_as_ollama_judges_them(origin, allowed):
    assert door().judge("GET", origin, "box:11434").status == (0 if allowed else 403)


def test_a_page_of_our_own_is_no_foreign_one():
    """Its Origin is that of the Host it asks: nothing is granted, nothing refused."""
    welcome = door().judge("GET", "http://nas.local:11434", "nas.local:11434")
    assert (welcome.status, welcome.headers) == (0, ())


def test_what_is_granted_is_said():
    welcome = door().judge("GET", "http://localhost:3000", "box")
    assert welcome.headers == (
        ("Access-Control-Allow-Origin", "http://localhost:3000"),
        ("Vary", "Origin"),
    )
    assert door("*").judge("GET", "http://evil.example", "box").headers == (
        ("Access-Control-Allow-Origin", "*"),
    )


def test_a_preflight_is_answered_whatever_its_host_and_path():
    welcome = door().judge("OPTIONS", "http://localhost:3000", "evil.example")
    headers = dict(welcome.headers)
    assert welcome.status == 204
    assert headers["Access-Control-Max-Age"] == "43200"
    assert headers["Access-Control-Allow-Origin"] == "http://localhost:3000"
    assert [value for name, value in welcome.headers if name == "Vary"] == [
        "Origin",
        "Access-Control-Request-Method",
        "Access-Control-Request-Headers",
    ]
    anyone = door("*").judge("OPTIONS", "http://evil.example", "box").headers
    assert "Vary" not in dict(anyone)


def test_a_refused_host_is_refused_to_a_page_that_may_call_too():
    welcome = door().judge("GET", "http://localhost:3000", "evil.example")
    assert welcome.status == 403
    assert welcome.headers


@pytest.mark.parametrize(("host", "status"), [("localhost", 204), ("", 204), ("127.0.0.1", 0)])
def test_options_without_an_origin_is_answered_by_name_and_routed_by_address(host, status):
    assert door().judge("OPTIONS", "", host).status == status


@pytest.mark.parametrize(
    ("pattern", "origin", "allowed"),
    [
        ("https://chat.example", "https://chat.example", True),
        ("https://Chat.Example", "https://chat.example", True),
        ("https://chat.example", "https://chat.example:8443", False),
        ("https://*.example", "https://a.b.example", True),
        ("https://*.example", "https://example", False),
        ("https://*.example", "http://a.example", False),
        ("chrome-extension://*", "chrome-extension://abc", True),
        ("*.lan", "ftp://nas.lan", True),
        ("*", "null", True),
    ],
)
def test_configured_origins_may_hold_one_asterisk(pattern, origin, allowed):
    assert (origin in Origins([pattern])) is allowed


@given(
    st.sampled_from(["GET", "OPTIONS"]),
    st.text(),
    st.text(alphabet="[]:.1aflc%\u0661", max_size=12),
)
def test_no_header_raises(method, origin, host):
    door().judge(method, origin, host)


@given(st.text(min_size=1), st.text())
def test_what_is_refused_is_granted_nothing(origin, host):
    welcome = Door(Origins(), None).judge("GET", origin, host)
    assert welcome.status == 0 or not welcome.headers


def test_loopback_is_told_from_the_rest():
    assert is_loopback("127.0.0.1")
    assert is_loopback("::1")
    assert is_loopback("localhost")
    assert not is_loopback("0.0.0.0")
    assert not is_loopback("example.com")


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("localhost:11434", True),
        ("LOCALHOST", True),
        ("127.0.0.2:80", True),
        ("[::1]:11434", True),
        ("[::ffff:127.0.0.1]:80", True),
        ("0.0.0.0:11434", True),
        ("a.localhost", True),
        ("", True),
        ("192.168.1.7", False),
        ("box", False),
        ("nas.local", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("127.0.0.1@evil.example", False),
        ("[fd00::1]", False),
    ],
)
def test_what_a_machine_calls_itself_nobody_calls_it_from_outside(host, own):
    assert is_own_name(host) is own
