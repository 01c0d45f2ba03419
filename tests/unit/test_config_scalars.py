"""How single values are read, refused and written back."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.config import Address
from ollama_fleet.config.paths import parse_path, show_path
from ollama_fleet.config.scalars import (
    MAX_BYTES,
    MAX_DURATION_S,
    read_bytes,
    read_gpus,
    read_instance_ports,
    read_seconds,
    read_url,
    show_duration_exactly,
    show_size_exactly,
    show_value,
)

LOOPBACK = [
    ("127.0.0.1:11434", Address("127.0.0.1", 11434)),
    ("[::1]:80", Address("::1", 80)),
    (":9000", Address("127.0.0.1", 9000)),
    ("9000", Address("127.0.0.1", 9000)),
    ("localhost:0", Address("localhost", 0)),
    ("127.9.9.9:1", Address("127.9.9.9", 1)),
]
OPEN = [
    ("0.0.0.0:11434", Address("0.0.0.0", 11434)),
    ("[::]:11434", Address("::", 11434)),
    ("gpu-box.lan:65535", Address("gpu-box.lan", 65535)),
]


@pytest.mark.parametrize(("text", "address"), LOOPBACK + OPEN)
def test_an_address_is_read_and_written(text, address):
    """Reading what was written gives the same address."""
    assert Address.parse(text) == address
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize(("text", "address"), LOOPBACK)
def test_loopback_is_known(text, address):
    assert address.is_loopback, text


@pytest.mark.parametrize(("text", "address"), OPEN)
def test_everything_else_counts_as_open(text, address):
    """A name that is not localhost may lead anywhere."""
    assert not address.is_loopback, text


@pytest.mark.parametrize(
    "text",
    ["", "host", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "300.1.1.1:1", "[1.2.3.4]:1",
     "[::1:1", "::1:11434", "*:80", "http://x:80", "a b:1", ":-1", "[::1]", "-x:1"],
)  # fmt: skip
def test_what_is_no_address_is_refused(text):
    with pytest.raises(ValueError, match="is not an address such as"):
        Address.parse(text)


@given(st.floats(-MAX_DURATION_S, MAX_DURATION_S))
def test_durations_are_written_without_loss(seconds):
    assert read_seconds(str(show_duration_exactly(seconds))) == seconds


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0s"), (0.5, "0.5s"), (600.0, "10m"), (5400.0, "1h30m"), (-1, "-1s")],
)
def test_durations_are_written_as_people_do(seconds, text):
    assert show_duration_exactly(seconds) == text


@pytest.mark.parametrize("value", ["inf", "nan", "1e99", math.inf, "5 parsecs", "", True, [], None])
def test_what_is_no_duration_is_refused(value):
    with pytest.raises(ValueError, match="is not a duration"):
        read_seconds(value)


@given(st.integers(0, MAX_BYTES))
def test_sizes_are_written_without_loss(count):
    assert read_bytes(str(show_size_exactly(count))) == count


@pytest.mark.parametrize("value", ["9" * 400, "8000000TiB", "-1", -1, "1 apple", "", True, {}, 1.5])
def test_what_is_no_size_is_refused(value):
    with pytest.raises(ValueError, match="is not a size"):
        read_bytes(value)


@pytest.mark.parametrize(
    ("written", "gpus"),
    [("auto", "auto"), ([], ()), (["0", "11"], (0, 11)), ((1, "GPU-8a"), (1, "GPU-8a"))],
)
def test_gpus_are_auto_or_a_list(written, gpus):
    """Digits are an index, anything else is a UUID."""
    assert read_gpus(written) == gpus


@pytest.mark.parametrize("written", ["0", 0, None, ["-1"], ["auto"], ["01"], [[]], [None], ["a b"]])
def test_what_is_no_gpu_is_refused(written):
    with pytest.raises(ValueError, match=r"neither|stands alone"):
        read_gpus(written)


@pytest.mark.parametrize("written", ["0", "65536", "-1", "some", None, [], "1.5"])
def test_what_is_no_port_is_refused(written):
    with pytest.raises(ValueError, match="neither auto nor a port"):
        read_instance_ports(written)


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("http://attic.lan:11434/", "http://attic.lan:11434"),
        ("HTTPS://Attic", "https://attic"),
        ("http://[::1]:80", "http://[::1]:80"),
    ],
)
def test_urls_have_one_form(written, url):
    assert read_url(written) == url
    assert read_url(url) == url


@pytest.mark.parametrize(
    "written",
    ["attic:11434", "ftp://a", "http://", "http://a/v1", "http://u:p@a", "http://a?x", "http://a#x",
     "http://[::1", "http://a:99999", "http://a:b", "http://a b", "http://a\0", "", "http://ä"],
)  # fmt: skip
def test_what_is_more_or_less_than_a_server_is_refused(written):
    with pytest.raises(ValueError, match="is not an address such as http"):
        read_url(written)


@given(st.one_of(st.text(), st.integers(), st.lists(st.none()), st.none()))
def test_a_rejected_value_takes_one_short_line(value):
    shown = show_value(value)
    assert shown.isprintable()
    assert len(shown) < 70


STEPS = st.one_of(st.integers(0, 999_999), st.text(max_size=80))
PATHS = st.tuples(st.text(max_size=80), st.lists(STEPS, max_size=4)).map(lambda p: (p[0], *p[1]))


@given(PATHS)
def test_paths_are_written_without_loss(path):
    """A path takes one printable line and reads back as itself, whatever its keys are."""
    shown = show_path(path)
    assert shown.isascii()
    assert shown.isprintable()
    assert parse_path(shown) == path


@pytest.mark.parametrize("text", ["", ".", "a..b", ".a", "a.", "a[", "a[x]", 'a["b', "a]", 'a"b'])
def test_what_is_no_path_is_refused(text):
    with pytest.raises(ValueError, match="is not a key such as"):
        parse_path(text)


def test_a_path_may_count_with_dots():
    assert parse_path("groups.0.gpus") == ("groups", "0", "gpus")
    assert parse_path("groups[0].gpus") == ("groups", 0, "gpus")
    assert parse_path('models["a.b:c"].preload') == ("models", "a.b:c", "preload")
