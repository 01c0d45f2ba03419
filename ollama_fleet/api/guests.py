"""Which Host and Origin headers are welcome: Ollama's own rules, kept at the front. Pure.

The relay rewrites Host and drops Origin, so an instance can no longer tell a web page that was
lured onto the loopback address (DNS rebinding, CVE-2024-28224) from a client of ours. Rules and
headers as in Ollama's server/routes.go and envconfig/config.go, and gin-contrib/cors beneath them.
"""

import ipaddress
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

Headers = tuple[tuple[str, str], ...]

_LOCAL_SUFFIXES: Final = (".localhost", ".local", ".internal")
_ALWAYS_ALLOWED: Final = (
    *(
        f"{scheme}://{host}{port}"
        for host in ("localhost", "127.0.0.1", "0.0.0.0")  # noqa: S104 - a name to compare with
        for scheme in ("http", "https")
        for port in ("", ":*")
    ),
    "app://*",
    "file://*",
    "tauri://*",
    "vscode-webview://*",
    "vscode-file://*",
)
_GRANTED_HEADERS: Final = (
    "Authorization,Content-Type,User-Agent,Accept,X-Requested-With,Openai-Beta,X-Stainless-Arch,"
    "X-Stainless-Async,X-Stainless-Custom-Poll-Interval,X-Stainless-Helper-Method,"
    "X-Stainless-Lang,X-Stainless-Os,X-Stainless-Package-Version,X-Stainless-Poll-Helper,"
    "X-Stainless-Retry-Count,X-Stainless-Runtime,X-Stainless-Runtime-Version,X-Stainless-Timeout"
)
_PREFLIGHT: Final[Headers] = (
    ("Access-Control-Allow-Headers", _GRANTED_HEADERS),
    ("Access-Control-Allow-Methods", "GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS"),
    ("Access-Control-Max-Age", "43200"),
)
_PREFLIGHT_VARY: Final[Headers] = (
    ("Vary", "Access-Control-Request-Method"),
    ("Vary", "Access-Control-Request-Headers"),
)
_PRIVATE: Final = tuple(  # ipaddress counts more networks as private than Go does
    map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"))
)


@dataclass(frozen=True, slots=True)
class Welcome:
    """What becomes of a request at the door.

    `status` is the whole answer, without a body, where it goes no further; 0 where it does.
    `headers` belong on its answer, whoever gives it.
    """

    status: int = 0
    headers: Headers = ()


_COME_IN: Final = Welcome()
_REFUSED: Final = Welcome(403)
_NOTHING_TO_ASK: Final = Welcome(204)


class Origins:
    """The web pages that may call: exact origins, and such with one `*` for any text.

    Those of this machine and of local apps always may. `anyone`: a lone `*` is among them.
    """

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        every = (*allowed, *_ALWAYS_ALLOWED)
        self.anyone = "*" in every
        self._exact = frozenset(origin.lower() for origin in every)
        halves = (origin.partition("*") for origin in every if "*" in origin)
        self._patterns = tuple((start, end) for start, _, end in halves)

    def __contains__(self, origin: str) -> bool:
        if not origin.isascii():  # no browser sends such, and it could not be echoed as it came
            return False
        return (
            self.anyone
            or origin in self._exact
            or any(origin.startswith(s) and origin.endswith(e) for s, e in self._patterns)
        )


class Door:
    """Judges requests by their method, Origin and Host.

    `hostnames` are this machine's own names, in lower case, where only it can reach the front: then
    Host is judged; None where anybody may. `addresses` gives its addresses as text.
    """

    def __init__(
        self,
        origins: Origins,
        hostnames: frozenset[str] | None,
        addresses: Callable[[], frozenset[str]] = frozenset,
    ) -> None:
        self._origins = origins
        self._hostnames = hostnames
        self._addresses = addresses

    def judge(self, method: str, origin: str, host: str) -> Welcome:
        """Say whether a request may come in; Origin is asked before Host, as Ollama does."""
        if origin and origin not in (f"http://{host}", f"https://{host}"):
            return self._cross_origin(method, origin, host)
        return self._by_host(method, host)

    def _cross_origin(self, method: str, origin: str, host: str) -> Welcome:
        if origin not in self._origins:
            return _REFUSED
        anyone = self._origins.anyone
        granted: Headers = (("Access-Control-Allow-Origin", "*" if anyone else origin),)
        vary: Headers = () if anyone else (("Vary", "Origin"),)
        if method == "OPTIONS":
            return Welcome(
                204, (*_PREFLIGHT, *granted, *vary, *(() if anyone else _PREFLIGHT_VARY))
            )
        found = self._by_host(method, host)
        return Welcome(found.status, granted + vary)

    def _by_host(self, method: str, header: str) -> Welcome:
        if self._hostnames is None:
            return _COME_IN
        host = _host(header)
        if host.near or (host.address and host.address in self._addresses()):
            return _COME_IN
        if host.local or host.name in self._hostnames:
            return _NOTHING_TO_ASK if method == "OPTIONS" else _COME_IN
        return _REFUSED


@lru_cache(256)
def is_own_name(header: str) -> bool:
    """Whether a Host header is what a machine calls itself: no page can have that from outside."""
    host = _host(header)
    return host.own or host.name in ("", "localhost") or host.name.endswith(".localhost")


@lru_cache(256)
def is_loopback(host: str) -> bool:
    """Whether an address to listen on can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True, slots=True)
class _Host:
    """What a Host header names: a name in lower case, and the address that it is, if it is one.

    `near`: an address on this machine or in a private network, `own`: on this machine alone;
    `local`: a name for either.
    """

    name: str
    address: str = ""
    near: bool = False
    own: bool = False
    local: bool = False


@lru_cache(256)
def _host(header: str) -> _Host:
    """Read a Host header as Go's SplitHostPort does.

    Brackets come off only where a port follows; what cannot be split is the host as it stands.
    """
    name = header.lower()
    host, colon, _ = name.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        name = host[1:-1]
    elif colon and not set(host) & set(":[]"):
        name = host
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        local = name in ("", "localhost") or name.endswith(_LOCAL_SUFFIXES)
        return _Host(name, local=local)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    address = mapped or address
    private = any(address.version == net.version and address in net for net in _PRIVATE)
    own = address.is_loopback or address.is_unspecified
    return _Host(name, str(address), near=private or own, own=own)
