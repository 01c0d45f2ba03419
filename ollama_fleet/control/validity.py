"""From when until when a certificate is valid, and what its owner has to be told of that. Pure.

Python's ssl tells it of a peer's certificate only. So the two times are read from the structure
that RFC 5280 (4.1) gives a certificate, in the encoding of ITU-T X.690.
"""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Final

SOON_S: Final = 14 * 86_400.0  # before its end, or a third of its life if that is less

_BEGIN: Final = "-----BEGIN CERTIFICATE-----"
_END: Final = "-----END CERTIFICATE-----"
_SEQUENCE: Final = 0x30
_VERSION: Final = 0xA0  # the first element, where there is one
_FORMS: Final = {0x17: "%y%m%d%H%M%SZ", 0x18: "%Y%m%d%H%M%SZ"}
_BEFORE_VALIDITY: Final = 3  # serial number, algorithm of the signature, issuer
_PIVOT: Final = 2050  # two digits of a year are of 1950 to 2049; Python's are of 1969 to 2068
_LONG: Final = 0x80  # a length that is written in so many bytes more


class Standing(Enum):
    """How a certificate stands at a moment."""

    EARLY = "early"  # it is not valid yet
    GOOD = "good"
    ENDING = "ending"  # it should be renewed
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Validity:
    """A certificate is valid from `begins_s` to `ends_s`, in Unix time."""

    begins_s: float
    ends_s: float

    def standing(self, now_s: float) -> Standing:
        """How it stands at that Unix time."""
        if now_s < self.begins_s:
            return Standing.EARLY
        if now_s > self.ends_s:
            return Standing.ENDED
        soon_s = min(SOON_S, (self.ends_s - self.begins_s) / 3)
        return Standing.ENDING if self.ends_s - now_s < soon_s else Standing.GOOD

    def told(self, now_s: float) -> str:
        """What is to be said of it, behind "the certificate in …"; nothing if it is good."""
        match self.standing(now_s):
            case Standing.EARLY:
                begins = _shown(self.begins_s)
                return f"is not valid before {begins}, by this machine's clock: clients refuse it"
            case Standing.ENDING:
                days = int((self.ends_s - now_s) // 86_400)
                left = {0: "in less than a day", 1: "in a day"}.get(days, f"in {days} days")
                return f"expires on {_shown(self.ends_s)}, {left}"
            case Standing.ENDED:
                return f"has expired on {_shown(self.ends_s)}: clients refuse it"
            case Standing.GOOD:
                return ""


def read_validity(pem: str) -> Validity:
    """That of the first certificate in a text of PEM form. Raises ValueError where it has none."""
    _, found, rest = pem.partition(_BEGIN)
    body, ended, _ = rest.partition(_END)
    if not (found and ended):
        raise ValueError("it holds no certificate in PEM form")
    der = ssl.PEM_cert_to_DER_cert(f"{_BEGIN}{body}{_END}\n")
    try:
        return _validity(der)
    except IndexError:
        raise ValueError("its certificate is cut short") from None


def _validity(der: bytes) -> Validity:
    signed, _ = _within(der, _within(der, 0)[0])  # the certificate's first part is what was signed
    at = signed
    if der[at] == _VERSION:
        _, at = _element(der, at)
    for _ in range(_BEFORE_VALIDITY):
        _, at = _element(der, at)
    first, _ = _within(der, at)
    begins_s, second = _time(der, first)
    ends_s, _ = _time(der, second)
    return Validity(begins_s, ends_s)


def _within(der: bytes, at: int) -> tuple[int, int]:
    """Where the content of a sequence begins and ends."""
    if der[at] != _SEQUENCE:
        raise ValueError("its certificate is none of X.509")
    return _element(der, at)


def _element(der: bytes, at: int) -> tuple[int, int]:
    """Where the content of the element there begins and ends; its end is where the next begins."""
    length, at = der[at + 1], at + 2
    if length >= _LONG:
        count = length - _LONG
        length, at = int.from_bytes(der[at : at + count], "big"), at + count
    return at, at + length


def _time(der: bytes, at: int) -> tuple[float, int]:
    """A time, and where the next element begins."""
    form = _FORMS.get(der[at])
    if form is None:
        raise ValueError("its certificate has no times of X.509")
    begin, end = _element(der, at)
    when = datetime.strptime(der[begin:end].decode("ascii"), form).replace(tzinfo=UTC)
    if form.startswith("%y") and when.year >= _PIVOT:
        when = when.replace(year=when.year - 100)
    return when.timestamp(), end


def _shown(unix_s: float) -> str:
    return f"{datetime.fromtimestamp(unix_s, UTC):%Y-%m-%d %H:%M} UTC"
