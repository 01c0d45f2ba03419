"""What an Ollama said that a model takes once it was loaded, against what was computed. Pure."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final, NamedTuple

from ollama_fleet.vram.need import Need, need
from ollama_fleet.vram.scheduling import automatic_batch, gpus_taken
from ollama_fleet.vram.shape import ModelShape
from ollama_fleet.vram.use import Use, engine_of

MOST_OFF: Final = 2.0
"""Beyond this, one way or the other, it is the figure that is wrong, or another model's."""


class Measured(NamedTuple):
    """`size_bytes` of a model that is wholly on GPUs, or on the CPU of an instance without any.

    `digest` is that of its manifest, in hex; the others are the settings of the instance, whose
    `gpus` have `gpu_bytes` for models, the largest of them (0: that of the system), and whose
    Ollama is of that `version`.
    """

    digest: str
    context_length: int
    num_parallel: int
    cache_type: str
    gpus: int
    gpu_bytes: int
    version: tuple[int, int]
    instance: str
    size_bytes: int

    @property
    def settings(self) -> tuple[str, int, int, str, int, int, tuple[int, int]]:
        """What it was measured with: a later figure replaces an earlier one with the same."""
        return self[:7]


def computed(shape: ModelShape, seen: Measured, use: Use) -> Need:
    """What was to be expected with the settings it was measured with.

    `use` has those that are not kept of it.
    """
    asked = replace(
        use,
        context_length=seen.context_length,
        num_parallel=seen.num_parallel,
        cache_type=seen.cache_type,
        version=seen.version,
    )
    free = (seen.gpu_bytes,) * seen.gpus
    taken = gpus_taken(shape, asked, free)
    batch = automatic_batch(shape, asked, free[:taken])
    return need(shape, replace(asked, gpus=taken, batch_tokens=batch))


def ratio(measured: Measured, expected: Need) -> float | None:
    """Measured over computed with the same settings; None for what cannot be."""
    if not expected.reported_bytes:
        return None
    found = measured.size_bytes / expected.reported_bytes
    return found if 1 / MOST_OFF <= found <= MOST_OFF else None


def worst(
    shape: ModelShape, measured: Iterable[Measured], use: Use
) -> tuple[Measured, float] | None:
    """The figure that is most above what was computed for its settings, and by what ratio.

    One for all settings, so that more of anything never seems to need less; of instances with GPUs
    for those with GPUs, of others for others, and of one engine for that engine. None where nothing
    was measured that can be.
    """
    engine = engine_of(shape, use.version)
    found = [
        (off, seen)
        for seen in measured
        if bool(seen.gpus) == bool(use.gpus)
        and engine_of(shape, seen.version) is engine
        and (off := ratio(seen, computed(shape, seen, use))) is not None
    ]
    return None if not found else (max(found)[1], max(found)[0])
