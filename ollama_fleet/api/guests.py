"""Which Host and Origin headers are welcome: Ollama's own rules, kept at the front. Pure.

The relay rewrites Host and drops Origin, so an instance can no longer tell a web page that was
lured onto the loopback address (DNS rebinding, CVE-2024-28224) from a client of ours. Rules as in
Ollama's server/routes.go and envconfig/config.go.
"""

import ipaddress
from functools import lru_cache
from urllib.parse import urlsplit

_LOCAL_SUFFIXES = (".localhost", ".local", ".internal")
_LOCAL_ORIGINS = frozenset(("localhost", "127.0.0.1", "0.0.0.0", "::1"))  # noqa: S104 - a name to compare with
_APP_SCHEMES = frozenset(("app", "file", "tauri", "vscode-webview", "vscode-file"))


@lru_cache(256)
def host_allowed(header: str, hostnames: frozenset[str]) -> bool:
    """Whether a Host header names this machine; `hostnames` are its own names, in lower case.

    To be asked where the front listens on loopback only: elsewhere any name may be right.
    """
    host = _hostname(header)
    if not host or host == "localhost" or host in hostnames or host.endswith(_LOCAL_SUFFIXES):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_private or address.is_unspecified


def origin_allowed(origin: str, host: str) -> bool:
    """Whether a page of that origin may call us: none, ours, this machine's or a local app's."""
    if not origin:
        return True
    scheme, mark, _ = origin.partition("://")
    if mark and scheme.lower() in _APP_SCHEMES:
        return True
    if scheme.lower() not in ("http", "https"):
        return False
    if origin.lower() == f"{scheme}://{host}".lower():
        return True
    try:
        return (urlsplit(origin).hostname or "") in _LOCAL_ORIGINS
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """Whether an address to listen on can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _hostname(header: str) -> str:
    host = header.strip().lower()
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
