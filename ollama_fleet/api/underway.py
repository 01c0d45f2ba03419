"""How many requests each client has under way: one more than it may is refused. Pure."""

from collections.abc import Callable
from typing import ClassVar

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

    None is for any number.
    """

    __slots__ = ("_most_of", "_of")

    def __init__(self, most_of: Callable[[str], int | None] = anyone) -> None:
        self._most_of = most_of
        self._of: dict[str, int] = {}

    def begin(self, client: str) -> None:
        """A request begins. Raises TooMany; then it is none."""
        count, most = self._of.get(client, 0), self._most_of(client)
        if most is not None and count >= most:
            raise TooMany(f"{count} of this client's are under way already")
        self._of[client] = count + 1

    def end(self, client: str) -> None:
        """A request that has begun is over."""
        count = self._of[client] - 1
        if count:
            self._of[client] = count
        else:
            del self._of[client]
