"""Addresses to listen on, as an operator writes them."""

import ipaddress
import re
from dataclasses import dataclass

LOOPBACK = "127.0.0.1"
DEFAULT_PORT = 11434
MAX_PORT = 65535

_ADDRESS = re.compile(r"(?:(?:\[(?P<six>[^\[\]]+)\]|(?P<name>[^:\[\]]*)):)?(?P<port>[0-9]{1,5})")
_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*")
_DOTTED_DIGITS = re.compile(r"[0-9.]+")


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a TCP port. Port 0 leaves the choice to the operating system."""

    host: str = LOOPBACK
    port: int = DEFAULT_PORT

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Read `127.0.0.1:11434`, `[::1]:11434`, `:11434` or `11434`; ValueError for the rest."""
        match = _ADDRESS.fullmatch(text.strip())
        if match is None or int(match["port"]) > MAX_PORT:
            raise _invalid(text)
        host = match["six"] or match["name"] or LOOPBACK
        if not _is_host(host, six=match["six"] is not None):
            raise _invalid(text)
        return cls(host, int(match["port"]))

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _is_host(host: str, *, six: bool) -> bool:
    if not six and _DOTTED_DIGITS.fullmatch(host) is None:
        return _HOST_NAME.fullmatch(host) is not None
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        return False
    return version == (6 if six else 4)


def _invalid(text: str) -> ValueError:
    return ValueError(f"{text!r} is not an address such as 127.0.0.1:11434, [::1]:11434 or :11434")
