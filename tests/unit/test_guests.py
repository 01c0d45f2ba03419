import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.api.guests import host_allowed, is_loopback, origin_allowed


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("localhost:11434", True),
        ("127.0.0.1", True),
        ("[::1]:11434", True),
        ("192.168.1.7:80", True),
        ("10.0.0.1", True),
        ("0.0.0.0", True),
        ("box", True),
        ("BOX:11434", True),
        ("nas.local", True),
        ("ollama.internal", True),
        ("a.localhost", True),
        ("", True),
        ("lb", False),
        ("evil.example", False),
        ("8.8.8.8", False),
        ("localhost.evil.example", False),
        ("evil.example:11434", False),
    ],
)
def test_hosts_are_judged_as_ollama_judges_them(host, allowed):
    assert host_allowed(host, frozenset({"box"})) is allowed


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("", True),
        ("http://localhost:3000", True),
        ("https://127.0.0.1", True),
        ("http://myhost:11434", True),
        ("app://obsidian.md", True),
        ("vscode-webview://x", True),
        ("http://evil.example", False),
        ("https://localhost.evil.example", False),
        ("http://[", False),
        ("null", False),
        ("chrome-extension://abc", False),
    ],
)
def test_origins_are_judged_as_ollama_judges_them(origin, allowed):
    assert origin_allowed(origin, "myhost:11434") is allowed


@given(st.text(), st.text())
def test_no_header_raises(host, origin):
    host_allowed(host, frozenset())
    origin_allowed(origin, host)


def test_loopback_is_told_from_the_rest():
    assert is_loopback("127.0.0.1")
    assert is_loopback("::1")
    assert is_loopback("localhost")
    assert not is_loopback("0.0.0.0")
    assert not is_loopback("example.com")
