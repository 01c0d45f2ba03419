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


def refused(exchange: Exchange, origins: Iterable[str], *, loopback: bool) -> bool:
    """Answer a request that may not pass, or a preflight, and say so; else note CORS headers."""
    head = exchange.head
    origin = head.headers.get("origin", "")
    host = head.headers.get("host", "")
    if origin and origin not in {f"http://{host}", f"https://{host}"}:
        return _cross_origin(exchange, origin, (*origins, *_ALWAYS_ALLOWED))
    if loopback and not _host_allowed(host):
        exchange.send(403)
        return True
    return _bare_options(exchange, host) if head.method == "OPTIONS" else False


def _cross_origin(exchange: Exchange, origin: str, allowed: tuple[str, ...]) -> bool:
    if not any(_pattern(entry).fullmatch(origin) for entry in allowed):
        exchange.send(403)
        return True
    anyone = "*" in allowed
    grant = ("Access-Control-Allow-Origin", "*" if anyone else origin)
    vary: list[Header] = [] if anyone else [("Vary", "Origin")]
    if exchange.head.method == "OPTIONS":
        extra: tuple[Header, ...] = (
            ("Vary", "Access-Control-Request-Method"),
            ("Vary", "Access-Control-Request-Headers"),
        )
        exchange.common_headers += [*_PREFLIGHT, grant, *vary, *extra]
        exchange.bare(204)
        return True
    exchange.common_headers += [grant, *vary]
    return False


def _bare_options(exchange: Exchange, host: str) -> bool:
    if _address(host) is not None:
        return False  # goes on to routing, which says 405
    exchange.bare(204)
    return True


def _host_allowed(host: str) -> bool:
    address = _address(host)
    if address is not None:
        return address.is_loopback or address.is_private or address.is_unspecified
    name = _without_port(host).lower()
    if name in {"", "localhost", socket.gethostname().lower()}:
        return True
    return name.endswith(_LOCAL_SUFFIXES)


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(_without_port(host).strip("[]"))
    except ValueError:
        return None


def _without_port(host: str) -> str:
    return re.sub(r":\d+$", "", host)


def is_loopback(host: str) -> bool:
    """A listening address that only this machine reaches."""
    address = _address(host)
    return host == "localhost" if address is None else address.is_loopback


@cache
def _pattern(entry: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in entry.split("*")))
