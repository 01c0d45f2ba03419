"""The front's HTTP: connections of our own around aiohttp's parser.

Of aiohttp are the parser of heads and bodies, the readers of bodies and their flow control; it is
pinned to one minor version for this package's sake. Ours is what a connection does with them: the
order of requests, their deadlines, what is refused, how an answer is written, how it ends.
tests/integration/test_connection.py is the contract. In reading order: request (what came), heads
(what is refused, and in which words), bounds (what a connection must keep to), crowd (how many
there may be), serving (what connections have in common), wire (the socket), stuck (a client that
reads nothing), protocol (one client's connection), deadline, lingering (behind the last answer),
departure (a client that sends no more), answers (our own), stream (a relayed one), server (the
listening side), secured (the same with TLS).
"""

from ollama_fleet.api.connection.answers import Answer, StreamAnswer
from ollama_fleet.api.connection.bounds import Bounds
from ollama_fleet.api.connection.crowd import Crowd
from ollama_fleet.api.connection.heads import MALFORMED, Refusal
from ollama_fleet.api.connection.request import BrokenBody, FrontRequest
from ollama_fleet.api.connection.secured import Tls
from ollama_fleet.api.connection.server import Front
from ollama_fleet.api.connection.serving import Handler
from ollama_fleet.api.connection.stream import ClientStream

__all__ = [
    "MALFORMED",
    "Answer",
    "Bounds",
    "BrokenBody",
    "ClientStream",
    "Crowd",
    "Front",
    "FrontRequest",
    "Handler",
    "Refusal",
    "StreamAnswer",
    "Tls",
]
