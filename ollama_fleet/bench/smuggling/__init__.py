"""Request smuggling, tried: bytes that two servers could read differently, sent through the router.

Each case is a few HTTP/1 requests on one connection, bent by one of the known tricks and by random
changes (cases.py). A strict reading of RFC 9112 says what they mean (reading.py). An origin behind
the router notes every byte it gets (origin.py). The law (verdict.py): the origin gets the requests
that were meant, one answer comes to each in order, or the connection ends.
"""

from ollama_fleet.bench.smuggling.cases import Case, make_case
from ollama_fleet.bench.smuggling.origin import Origin
from ollama_fleet.bench.smuggling.trial import Tally, try_case

__all__ = ["Case", "Origin", "Tally", "make_case", "try_case"]
