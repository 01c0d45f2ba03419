"""The names that a strategy can have: ours, and those of installed distributions."""

from importlib.metadata import entry_points
from typing import Final

from pydantic_core import PydanticKnownError

GROUP: Final = "ollama_fleet.strategies"

STRATEGIES: Final = (
    "adaptive",
    "ip_hash",
    "late_least_conn",
    "least_conn",
    "least_loaded",
    "peak_ewma",
    "power_of_two",
    "round_robin",
    "session",
    "weighted_least_conn",
    "weighted_round_robin",
)


def read_strategy(text: str) -> str:
    """Return the name of a strategy. Raises as pydantic does for a choice that there is not."""
    if text in STRATEGIES:
        return text
    known = sorted({*STRATEGIES, *entry_points(group=GROUP).names})
    if text not in known:
        raise PydanticKnownError("literal_error", {"expected": ", ".join(map(repr, known))})
    return text
