"""From when until when a certificate is valid, and what is said of it."""

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.control.validity import SOON_S, Standing, Validity, read_validity

DAY_S = 86_400.0
moments = st.datetimes(datetime(1950, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001 - Hypothesis wants bounds without a zone


def element(tag, content):
    size = len(content)
    if size < 0x80:
        return bytes((tag, size)) + content
    length = size.to_bytes(-(-size.bit_length() // 8), "big")
    return bytes((tag, 0x80 + len(length))) + length + content


def time_of(when):
    """As RFC 5280 has it: two digits of a year up to 2049, four beyond."""
    text = f"{when.year:04}{when:%m%d%H%M%S}Z".encode()
    return element(0x17, text[2:]) if when.year < 2050 else element(0x18, text)


def certificate(begins, ends, *, version, padding=0):
    """As much of one as is read, in PEM form."""
    serial, algorithm = element(0x02, b"\x05"), element(0x30, b"\x06\x01\x2a")
    issuer, subject = element(0x30, bytes(padding)), element(0x30, b"")
    validity = element(0x30, time_of(begins) + time_of(ends))
    first = element(0xA0, element(0x02, b"\x02")) if version else b""
    signed = element(0x30, first + serial + algorithm + issuer + validity + subject)
    der = element(0x30, signed + algorithm + element(0x03, b"\0" * 64))
    body = base64.encodebytes(der).decode()
    return f"-----BEGIN CERTIFICATE-----\n{body}-----END CERTIFICATE-----\n"


@given(moments, moments, st.booleans(), st.integers(0, 70_000))
def test_what_a_certificate_says_is_read_whatever_stands_before_it(begins, ends, version, padding):
    pem = certificate(begins, ends, version=version, padding=padding)
    found = read_validity(f"# a comment\n{pem}{pem}")
    whole = [when.replace(microsecond=0).timestamp() for when in (begins, ends)]
    assert [found.begins_s, found.ends_s] == whole


@given(st.binary(max_size=200))
def test_what_is_no_certificate_is_refused_in_words(der):
    body = base64.encodebytes(der).decode()
    pem = f"-----BEGIN CERTIFICATE-----\n{body}-----END CERTIFICATE-----\n"
    with pytest.raises(ValueError, match=r"."):
        read_validity(pem)


@pytest.mark.parametrize("cut", [10, 60, 90, 130])
def test_one_that_is_cut_short_is_refused(cut):
    whole = certificate(
        datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC), version=1
    )
    with pytest.raises(ValueError, match=r"."):
        read_validity(whole[: len("-----BEGIN CERTIFICATE-----\n") + cut])


@given(st.floats(0, 1e10), st.floats(1, 1e9), st.floats(-1e9, 2e9))
def test_every_moment_of_a_certificate_has_one_standing_and_only_a_good_one_no_words(
    begins_s, life_s, age_s
):
    validity, now_s = Validity(begins_s, begins_s + life_s), begins_s + age_s
    standing = validity.standing(now_s)
    assert (standing is Standing.EARLY) == (now_s < validity.begins_s)
    assert (standing is Standing.ENDED) == (now_s > validity.ends_s)
    assert bool(validity.told(now_s)) == (standing is not Standing.GOOD)
    if standing is Standing.GOOD:
        assert validity.ends_s - now_s >= min(SOON_S, life_s / 3) - 1


@pytest.mark.parametrize(
    ("now_s", "told"),
    [
        (-1.0, "is not valid before 1970-01-01 00:00 UTC, by this machine's clock: clients refuse"),
        (50 * DAY_S, ""),
        (80 * DAY_S, "expires on 1970-04-01 00:00 UTC, in 10 days"),
        (88.5 * DAY_S, "expires on 1970-04-01 00:00 UTC, in a day"),
        (89.5 * DAY_S, "expires on 1970-04-01 00:00 UTC, in less than a day"),
        (91 * DAY_S, "has expired on 1970-04-01 00:00 UTC: clients refuse it"),
    ],
)
def test_what_is_said_of_it(now_s, told):
    said = Validity(0.0, 90 * DAY_S).told(now_s)
    assert said.startswith(told)
    assert bool(said) == bool(told)
