"""Models that took another amount of memory than was computed for them. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ollama_fleet.doctor.check import Check, Status
from ollama_fleet.names import ModelName
from ollama_fleet.placement import Models
from ollama_fleet.units import show_bytes
from ollama_fleet.vram import Use
from ollama_fleet.vram.measured import Measured, computed

MOST_OFF: Final = 0.15


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a model was measured to take, and what was computed for the same settings."""

    model: str
    measured: Measured
    computed_bytes: int

    @property
    def off(self) -> float:
        """By what part of the computed it was more, or less (negative)."""
        return self.measured.size_bytes / self.computed_bytes - 1


def footprints(models: Models) -> Iterator[Footprint]:
    """All that was measured of models whose headers could be read."""
    for key, measured in models.measured.items():
        for seen in measured:
            expected = computed(models.shapes[key], seen, Use())
            if expected.reported_bytes:
                yield Footprint(str(ModelName.parse(key)), seen, expected.reported_bytes)


def memory(found: tuple[Footprint, ...]) -> Iterator[Check]:
    """Whether models take what is reckoned with: for each, the settings where it is most off."""
    for model in dict.fromkeys(each.model for each in found):
        worst = max((each for each in found if each.model == model), key=lambda each: abs(each.off))
        if abs(worst.off) > MOST_OFF:
            seen = worst.measured
            than = "more" if worst.off > 0 else "less"
            computed = show_bytes(worst.computed_bytes)
            yield Check(
                "memory",
                Status.WARN,
                f"{model} took {show_bytes(seen.size_bytes)} on {seen.instance} with"
                f" {seen.num_parallel} x {seen.context_length} tokens in {seen.cache_type}:"
                f" {abs(worst.off):.0%} {than} than the computed {computed}",
                f"what was measured is reckoned with where it can be: `fleet plan --model {model}`"
                " shows what fits by it",
            )
