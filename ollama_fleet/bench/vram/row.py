"""A model under some settings: what it was said to take, and what it took."""

from dataclasses import dataclass
from typing import Any

from ollama_fleet.units import show_bytes
from ollama_fleet.vram import Need

TOLERANCE = 0.02  # of what was allocated


@dataclass(frozen=True, slots=True)
class Measured:
    """What an Ollama allocated, by its log, and what /api/ps then said of it."""

    weights_bytes: int
    cache_bytes: int
    graph_bytes: int
    reported_bytes: int

    @property
    def total_bytes(self) -> int:
        """All that was allocated."""
        return self.weights_bytes + self.cache_bytes + self.graph_bytes


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison."""

    model: str
    need: Need
    measured: Measured

    @property
    def error(self) -> float:
        """How much more was predicted than allocated, as a share of that; negative for less."""
        return self.need.total_bytes / self.measured.total_bytes - 1

    @property
    def holds(self) -> bool:
        """Whether that is within the tolerance."""
        return abs(self.error) <= TOLERANCE

    @property
    def cells(self) -> tuple[str, ...]:
        """The row for people."""
        use, measured = self.need.use, self.measured
        parts = (
            (self.need.weights_bytes, measured.weights_bytes),
            (self.need.cache_bytes, measured.cache_bytes),
            (self.need.graph_bytes, measured.graph_bytes),
            (self.need.total_bytes, measured.total_bytes),
        )
        return (
            self.model,
            f"{use.num_parallel} x {use.context_length}",
            f"{use.cache_type}{', flash' if use.has_flash_attention else ''}",
            *(f"{show_bytes(predicted)} / {show_bytes(found)}" for predicted, found in parts),
            f"{100 * self.error:+.2f} %",
            show_bytes(measured.reported_bytes),
        )

    def as_dict(self) -> dict[str, Any]:
        """The row for programs."""
        use, need, measured = self.need.use, self.need, self.measured
        return {
            "model": self.model,
            "context_length": use.context_length,
            "num_parallel": use.num_parallel,
            "cache_type": use.cache_type,
            "flash_attention": use.has_flash_attention,
            "predicted_bytes": need.total_bytes,
            "measured_bytes": measured.total_bytes,
            "reported_bytes": measured.reported_bytes,
            "error": round(self.error, 5),
        }


HEADINGS = (
    "model",
    "slots x context",
    "cache",
    "weights",
    "KV cache",
    "graph",
    "total",
    "error",
    "/api/ps says",
)
