"""The strategies: each a small pure score in seconds or in requests, made from a few tools.

docs/strategies.md says of each what it looks at, its formula, and when to use it. Another one comes
from the Python entry points `ollama_fleet.strategies`: a function that takes Tools and returns a
Strategy (fleet/strategies.py loads it).
"""

from collections.abc import Callable, Mapping

from ollama_fleet.router.policy import Strategy
from ollama_fleet.router.strategies.adaptive import adaptive
from ollama_fleet.router.strategies.counts import (
    late_least_conn,
    least_conn,
    power_of_two,
    weighted_least_conn,
)
from ollama_fleet.router.strategies.expectations import Expectations
from ollama_fleet.router.strategies.hashes import ip_hash, session
from ollama_fleet.router.strategies.measured import least_loaded
from ollama_fleet.router.strategies.peak_ewma import peak_ewma
from ollama_fleet.router.strategies.tools import Speeds, Tools
from ollama_fleet.router.strategies.turns import round_robin, weighted_round_robin

Make = Callable[[Tools], Strategy]

STRATEGIES: Mapping[str, Make] = {
    "round_robin": round_robin,
    "weighted_round_robin": weighted_round_robin,
    "least_conn": least_conn,
    "weighted_least_conn": weighted_least_conn,
    "least_loaded": least_loaded,
    "ip_hash": ip_hash,
    "session": session,
    "power_of_two": power_of_two,
    "peak_ewma": peak_ewma,
    "adaptive": adaptive,
    "late_least_conn": late_least_conn,
}

__all__ = ["STRATEGIES", "Expectations", "Make", "Speeds", "Tools"]
