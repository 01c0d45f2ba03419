"""A request as the front's handlers see it: what came, where it leads, what its answer carries."""

import re
from typing import Final

import msgspec
from multidict import istr

from ollama_fleet.api.auth import ANYONE, Caller
from ollama_fleet.api.auth.presented import PREFIX
from ollama_fleet.api.connection import ClientStream, FrontRequest
from ollama_fleet.api.guests import Headers
from ollama_fleet.api.paths import Found
from ollama_fleet.router.dialect import Dialect

REQUEST_ID: Final = istr("X-Request-Id")

_SANE_ID: Final = re.compile(r"[A-Za-z0-9._~:/+=@-]{1,128}")


class RequestIds:
    """Gives every request its id: the client's own where it is sane, else 24 hexadecimal digits.

    No key is: ids are logged and passed on.

    Ids of ours rise in the order of arrival, those of a later start above those of an earlier one:
    `started_s` is Unix time, `salt` 32 random bits.
    """

    def __init__(self, started_s: float, salt: int) -> None:
        self._start = f"{int(started_s) & 0xFFFFFFFF:08x}"
        self._salt = f"{salt & 0xFFFFFFFF:08x}"
        self._count = 0

    def of(self, given: str | None) -> str:
        """The id of a request that brought `given`."""
        if given is not None and _SANE_ID.fullmatch(given) and PREFIX not in given:
            return given
        self._count += 1
        return f"{self._start}{self._count & 0xFFFFFFFF:08x}{self._salt}"


class Visit(msgspec.Struct, frozen=True):
    """One request at the front. `client` takes its answer where that is relayed.

    `granted` are headers for its answer, whoever gives it: CORS's, and what is left of budgets.
    `caller` is who asks.
    """

    request: FrontRequest
    place: Found
    id: str
    client: ClientStream
    granted: Headers = ()
    caller: Caller = ANYONE

    @property
    def dialect(self) -> Dialect:
        """Whose API it speaks."""
        return dialect_of(self.place.path)

    @property
    def headers(self) -> Headers:
        """What an answer of our own carries besides its content."""
        return ((REQUEST_ID, self.id), *self.granted)


_DIALECTS: Final = {"/v1/messages": Dialect.ANTHROPIC, "/v1/responses": Dialect.RESPONSES}


def dialect_of(path: str) -> Dialect:
    """Whose API a route is of: by it go errors, ends and figures."""
    if path.startswith(("/api/", "api/")) or path == "/":
        return Dialect.OLLAMA
    return _DIALECTS.get(path, Dialect.OPENAI)
