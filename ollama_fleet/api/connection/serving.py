"""What the connections of one front have in common."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from multidict import CIMultiDictProxy

from ollama_fleet.api.connection.answers import Answer
from ollama_fleet.api.connection.bounds import Bounds
from ollama_fleet.api.connection.crowd import Crowd, Over
from ollama_fleet.api.connection.heads import Refusal
from ollama_fleet.api.connection.request import FrontRequest
from ollama_fleet.errors import Limit

if TYPE_CHECKING:
    from ollama_fleet.api.connection.protocol import FrontConnection

Handler = Callable[[FrontRequest], Awaitable[Answer | Refusal | None]]
ClientOf = Callable[[str, CIMultiDictProxy[str]], str]


@dataclass(frozen=True, slots=True)
class Serving:
    """Who answers, what connections must keep to, how many there may be, who is open.

    The handler returns None where it has written its answer itself. `refused` is told of every
    limit that a client has run into here. `client_of` finds who asks, given the address that is
    connected and a request's headers. `idle` are connections that nothing has come on since
    the last answer, the one that has been so for longest first.
    """

    handler: Handler
    bounds: Bounds
    crowd: Crowd
    refused: Callable[[Limit], None]
    client_of: ClientOf
    connections: "set[FrontConnection]" = field(default_factory=set)
    idle: "dict[FrontConnection, None]" = field(default_factory=dict)

    def admit(self, connection: "FrontConnection") -> Over | None:
        """A connection comes; why it cannot stay, if so. For another an idle one makes room."""
        self.connections.add(connection)
        over = self.crowd.enter(connection.remote)
        if over is not None and over.limit is Limit.CONNECTIONS and self.idle:
            longest = next(iter(self.idle))
            del self.idle[longest]
            longest.close()
            over = None
        if over is not None:
            self.refused(over.limit)
        return over

    def dismiss(self, connection: "FrontConnection") -> None:
        """It has gone."""
        self.connections.discard(connection)
        self.idle.pop(connection, None)
        self.crowd.leave(connection.remote)
