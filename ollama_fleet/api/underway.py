"""How many requests each client has under way: one more than it may is refused. Pure."""

from collections.abc import Callable
from typing import ClassVar

from ollama_fleet.api.connection.crowd import site
from ollama_fleet.errors import Failure, Limit


class TooMany(Failure):
    """A client has as many requests under way as it may."""

    status: ClassVar[int] = 429
    limit = Limit.REQUESTS_PER_CLIENT


def anyone(_client: str) -> int | None:
    """No client has a limit."""
    return None


class UnderWay:
    """Counts requests by client, a key's owner or an address; `most_of` says how many it may have.

    None is for any number. Addresses of one IPv6 network count as one.
    """

    __slots__ = ("_most_of", "_of")

    def __init__(self, most_of: Callable[[str], int | None] = anyone) -> None:
        self._most_of = most_of
        self._of: dict[str, int] = {}

    def retune(self, most_of: Callable[[str], int | None]) -> None:
        """Let requests that come from now on be so many; none that is there is ended."""
        self._most_of = most_of

    def begin(self, client: str) -> str:
        """A request begins; whose it is, for `end`. Raises TooMany; then it is none."""
        owner, most = site(client), self._most_of(client)
        count = self._of.get(owner, 0)
        if most is not None and count >= most:
            raise TooMany(f"{count} of this client's are under way already")
        self._of[owner] = count + 1
        return owner

    def end(self, owner: str) -> None:
        """A request that has begun is over."""
        self._of[owner] -= 1
        if not self._of[owner]:
            del self._of[owner]
