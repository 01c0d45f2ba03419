"""Who may ask at all: Ollama's CORS and Host checks, made before any routing."""

import ipaddress
import re
import socket
from collections.abc import Iterable
from functools import cache

from ollama_fleet.sim.ollama.wire.exchange import Exchange, Header

_LOCAL_SUFFIXES = (".localhost", ".local", ".internal")
_ALWAYS_ALLOWED = (
    *(
        f"{scheme}://{host}{port}"
        for host in ("localhost", "127.0.0.1", "0.0.0.0")  # noqa: S104  # a name, not a bind
        for port in ("", ":*")
        for scheme in ("http", "https")
    ),
    "app://*",
    "file://*",
    "tauri://*",
    "vscode-webview://*",
    "vscode-file://*",
)
_ALLOWED_HEADERS = (
    "Authorization,Content-Type,User-Agent,Accept,X-Requested-With,Openai-Beta,X-Stainless-Arch,"
    "X-Stainless-Async,X-Stainless-Custom-Poll-Interval,X-Stainless-Helper-Method,"
    "X-Stainless-Lang,X-Stainless-Os,X-Stainless-Package-Version,X-Stainless-Poll-Helper,"
    "X-Stainless-Retry-Count,X-Stainless-Runtime,X-Stainless-Runtime-Version,X-Stainless-Timeout"
)
_PREFLIGHT: tuple[Header, ...] = (
    ("Access-Control-Allow-Headers", _ALLOWED_HEADERS),
    ("Access-Control-Allow-Methods", "GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS"),
    ("Access-Control-Max-Age", "43200"),
)
_PREFLIGHT_VARY: tuple[Header, ...] = (
    ("Vary", "Access-Control-Request-Method"),
    ("Vary", "Access-Control-Request-Headers"),
)
_PRIVATE = tuple(
    map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"))
)

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def refused(exchange: Exchange, origins: Iterable[str], *, loopback: bool) -> bool:
    """Answer a request that may not pass, or a preflight, and say so; else note CORS headers."""
    head = exchange.head
    origin = head.headers.get("origin", "")
    host = head.headers.get("host", "")
    foreign = origin and origin not in {f"http://{host}", f"https://{host}"}
    if foreign and _cross_origin(exchange, origin, (*origins, *_ALWAYS_ALLOWED)):
        return True
    return loopback and _strange_host(exchange, host)


def _cross_origin(exchange: Exchange, origin: str, allowed: tuple[str, ...]) -> bool:
    if not any(_pattern(entry).fullmatch(origin) for entry in allowed):
        exchange.send(403)
        return True
    anyone = "*" in allowed
    grant = ("Access-Control-Allow-Origin", "*" if anyone else origin)
    vary: list[Header] = [] if anyone else [("Vary", "Origin")]
    if exchange.head.method == "OPTIONS":
        extra: tuple[Header, ...] = () if anyone else _PREFLIGHT_VARY
        exchange.common_headers += [*_PREFLIGHT, grant, *vary, *extra]
        exchange.bare(204)
        return True
    exchange.common_headers += [grant, *vary]
    return False


def _strange_host(exchange: Exchange, header: str) -> bool:
    """By address everyone goes on to routing; by name OPTIONS is answered here."""
    host = _without_port(header.lower())
    address = _address(host)
    if address is not None and _is_near(address):
        return False
    known = host in {"", "localhost", socket.gethostname().lower()}
    if not known and not host.endswith(_LOCAL_SUFFIXES):
        exchange.send(403)
        return True
    if exchange.head.method == "OPTIONS":
        exchange.bare(204)
        return True
    return False


def _is_near(address: Address) -> bool:
    """On this machine, or private in Go's sense, which is narrower than Python's."""
    if address.is_loopback or address.is_unspecified:
        return True
    return any(address.version == net.version and address in net for net in _PRIVATE)


def _address(host: str) -> Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _without_port(host: str) -> str:
    """As Go's SplitHostPort: what cannot be split stays as it is."""
    found = re.fullmatch(r"(?:\[(.*)\]|([^:\[\]]*)):[^:\[\]]*", host)
    return host if found is None else found[1] or found[2] or ""


def is_loopback(host: str) -> bool:
    """A listening address that only this machine reaches."""
    address = _address(host.strip("[]"))
    return host == "localhost" if address is None else address.is_loopback


@cache
def _pattern(entry: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in entry.split("*")))
