"""Who asks, where proxies stand before the fleet: their word is taken, nobody else's. Pure.

Anyone can write X-Forwarded-For; what its right end says was written by the proxy that is
connected, and so on leftwards as long as that names proxies that are trusted, too.
"""

import ipaddress
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

from multidict import CIMultiDictProxy, istr

FORWARDED_FOR: Final = istr("X-Forwarded-For")
FORWARDED: Final = istr("Forwarded")

UNKNOWN: Final = "unknown"
"""Who asks through a trusted proxy, but as two: one client to all that counts them."""

_MOST_HOPS: Final = 32
_PAIR: Final = re.compile(  # what is quoted may hold all that ends a pair otherwise
    r'\s*([^\s=,;"\\]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,;"\\]+))\s*([,;]|$)'
)
_PORT: Final = re.compile(r":[0-9_]+$")


class Proxies:
    """The proxies that are trusted: addresses and networks, as `10.0.0.0/8`."""

    def __init__(self, networks: Iterable[str] = ()) -> None:
        self._networks = tuple(map(ipaddress.ip_network, networks))
        self._trusted = lru_cache(256)(self._is_trusted)

    def __contains__(self, address: str) -> bool:
        return bool(self._networks) and self._trusted(address)

    def client(self, peer: str, headers: CIMultiDictProxy[str]) -> str:
        """The address of who asks: the first from the right that is no proxy of ours.

        A word that is no address ends the way: who wrote it is all that is known. Who is named
        differently by two headers is UNKNOWN, for one of them a proxy may have passed on unread; so
        is who has bent one of them. It is never the proxy itself, which may do more than others.
        """
        if peer not in self:
            return peer
        lists = (_listed(headers), _forwarded(headers))
        found = {UNKNOWN if n is None else self._walked(peer, n) for n in lists if n != ()}
        if len(found) > 1:
            return UNKNOWN
        return found.pop() if found else peer

    def _walked(self, peer: str, nodes: Sequence[str]) -> str:
        address = peer
        for node in reversed(nodes[-_MOST_HOPS:]):
            before = _address(node) if address in self else ""
            if not before:
                break
            address = before
        return address

    def _is_trusted(self, address: str) -> bool:
        try:
            found = ipaddress.ip_address(_address(address))
        except ValueError:
            return False
        return any(found.version == net.version and found in net for net in self._networks)


def is_forwarded(headers: CIMultiDictProxy[str]) -> bool:
    """Whether a proxy has passed a request on, and says so; whether it is trusted or not."""
    return FORWARDED_FOR in headers or FORWARDED in headers


def _listed(headers: CIMultiDictProxy[str]) -> Sequence[str]:
    lines = headers.getall(FORWARDED_FOR, None)
    return () if lines is None else ",".join(lines).split(",")


def _forwarded(headers: CIMultiDictProxy[str]) -> Sequence[str] | None:
    lines = headers.getall(FORWARDED, None)
    return () if lines is None else _elements(",".join(lines))


def _elements(text: str) -> Sequence[str] | None:
    """What each element of a list names with `for`, "" where it does not; None for no such list.

    Read from the left as a whole: who looks for commas and quotes alone takes what a client has
    had quoted, a Host say, for a word of the proxy's.
    """
    nodes, node, at, end = [], "", 0, ","
    while end:
        pair = _PAIR.match(text, at)
        if pair is None:
            return None
        name, quoted, plain, end = pair.groups()
        if name.lower() == "for":
            node = quoted if plain is None else plain
        if end != ";":
            nodes.append(node)
            node = ""
        at = pair.end()
    return nodes


@lru_cache(1024)
def _address(node: str) -> str:
    """The address that a node is written as, with a port or without; "" if it is none."""
    text = node.strip()
    if text.startswith("["):
        text = _PORT.sub("", text)[1:-1]
    elif text.count(":") == 1:
        text = _PORT.sub("", text)
    try:
        address = ipaddress.ip_address(text.partition("%")[0])  # a zone is any text whatever
    except ValueError:
        return ""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)
