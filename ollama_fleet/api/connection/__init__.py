"""Everything that touches aiohttp's internals: what its server lacks, and raw writes to a client.

aiohttp is pinned to one minor version for this package's sake; tests/integration/test_connection.py
is the contract. aiohttp 3.14 has no deadline for a request's head or body, hears nothing of a body
that breaks off, takes a few heads that another server would read otherwise, and its response writer
frames every piece anew. In reading order: heads (what is refused, and in which words), protocol
(one client's connection), departure (a client that sends no more), stream (a relayed answer),
answers (the others), server (the listening side).
"""

from ollama_fleet.api.connection.answers import Answer, Refused, StreamAnswer
from ollama_fleet.api.connection.heads import MALFORMED, Refusal
from ollama_fleet.api.connection.server import Front, Handler
from ollama_fleet.api.connection.stream import ClientStream

__all__ = [
    "MALFORMED",
    "Answer",
    "ClientStream",
    "Front",
    "Handler",
    "Refusal",
    "Refused",
    "StreamAnswer",
]
