"""What an Ollama said that a model takes once it was loaded, against what was computed. Pure.

What is compared are weights, cache and graph, with what stays in main memory: Ollama's /api/ps
counts that too where all layers are on GPUs (MemorySize in its llm/server.go).
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final, NamedTuple

from ollama_fleet.vram.need import Need, need
from ollama_fleet.vram.shape import ModelShape
from ollama_fleet.vram.use import Use

MOST_OFF: Final = 2.0
"""Beyond this, one way or the other, it is the figure that is wrong, or another model's."""


class Measured(NamedTuple):
    """`size_bytes` of a model that is wholly on GPUs, or on the CPU of an instance without any.

    `digest` is that of its manifest, in hex; the others are the settings of the instance.
    """

    digest: str
    context_length: int
    num_parallel: int
    cache_type: str
    gpus: int
    instance: str
    size_bytes: int

    @property
    def settings(self) -> tuple[str, int, int, str, int]:
        """What it was measured with: a later figure replaces an earlier one with the same."""
        return self[:5]


def comparable_bytes(need: Need) -> int:
    """Of what was computed, what Ollama reports."""
    return need.total_bytes - need.overhead_bytes + need.host_bytes


def ratio(measured: Measured, computed: Need) -> float | None:
    """Measured over computed with the same settings; None for what cannot be."""
    expected = computed.reported_bytes
    if not expected or measured.size_bytes <= 0:
        return None
    found = measured.size_bytes / expected
    return found if 1 / MOST_OFF <= found <= MOST_OFF else None


def worst(
    shape: ModelShape, measured: Iterable[Measured], use: Use
) -> tuple[Measured, float] | None:
    """The figure that is most above what was computed for its settings, and by what ratio.

    One for all settings, so that more of anything never seems to need less; of instances with GPUs
    for those with GPUs, of others for others. None where nothing was measured that can be.
    """
    found = [
        (off, seen)
        for seen in measured
        if bool(seen.gpus) == bool(use.gpus)
        and (off := ratio(seen, need(shape, settings_of(seen, use)))) is not None
    ]
    return None if not found else (max(found)[1], max(found)[0])


def settings_of(seen: Measured, use: Use) -> Use:
    """The settings with which it was measured, and for what is not kept of them those of `use`."""
    return replace(
        use,
        context_length=seen.context_length,
        num_parallel=seen.num_parallel,
        cache_type=seen.cache_type,
        gpus=seen.gpus,
    )
