"""How many connections are open, and of whom: who may come in besides. Pure."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Final

from ollama_fleet.errors import Limit

TOLD: Final = 32  # beyond a limit are told so; the rest find themselves cut off

_SITE_BITS: Final = 64  # of an IPv6 address, whose owner chooses the others at will


@dataclass(frozen=True, slots=True)
class Over:
    """A connection too many. `is_told`: there is room to say so first."""

    limit: Limit
    is_told: bool


def anyone(_address: str) -> int | None:
    """No address has a limit of its own."""
    return None


class Crowd:
    """Counts connections: `most` in all, and of an address as many as `most_of` says, if any.

    Every connection that comes is counted until it goes, those that are turned away too.
    """

    __slots__ = ("_most", "_most_of", "_of", "_parts", "open")

    def __init__(
        self, most: float = math.inf, most_of: Callable[[str], int | None] = anyone
    ) -> None:
        self.open = 0
        self._most = most
        self._most_of = most_of
        self._of: dict[str, int] = {}
        self._parts: list[tuple[float, Crowd]] = []

    def enter(self, address: str) -> Over | None:
        """A connection comes; why it cannot stay, if so."""
        owner = site(address)
        count = self._of[owner] = self._of.get(owner, 0) + 1
        self.open += 1
        most = self._most_of(address)
        if most is not None and count > most:
            return Over(Limit.CONNECTIONS_PER_ADDRESS, count <= most + TOLD)
        if self.open > self._most:
            return Over(Limit.CONNECTIONS, self.open <= self._most + TOLD)
        return None

    def part(self, share: float) -> "Crowd":
        """Another of no more than that share of this one, and of an address as many."""
        part = Crowd(max(1.0, share * self._most), self._most_of)
        self._parts.append((share, part))
        return part

    def retune(self, most: float, most_of: Callable[[str], int | None]) -> None:
        """Let as many come from now on; who is here stays."""
        self._most, self._most_of = most, most_of
        for share, part in self._parts:
            part.retune(max(1.0, share * most), most_of)

    def leave(self, address: str) -> None:
        """A connection of that address has gone."""
        owner = site(address)
        self.open -= 1
        self._of[owner] -= 1
        if not self._of[owner]:
            del self._of[owner]


def site(address: str) -> str:
    """Whose address it is: of IPv6 a network, for one owner has all that is in it."""
    if ":" not in address:
        return address
    whole = int(IPv6Address(address.partition("%")[0]))
    return f"{whole >> _SITE_BITS:x}::"
