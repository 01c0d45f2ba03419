"""How much memory a model takes on an instance, before it runs there. Pure.

From its header's shape and the group's settings where the header could be read, corrected by what
was measured of it; else a fifth more than its size on disk.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ollama_fleet.gpu import Gpu
from ollama_fleet.names import canonical
from ollama_fleet.placement.kept import overhead_bytes
from ollama_fleet.units import show_bytes
from ollama_fleet.vram import FlashAttention, ModelShape, Need, Use, explain, need
from ollama_fleet.vram.measured import Measured, comparable_bytes, worst

if TYPE_CHECKING:
    from ollama_fleet.config import Settings

_TIERS: Final = ((47 * 2**30, 262144), (23 * 2**30, 32768))
_LOWEST_TIER: Final = 4096
_FLASH: Final = {None: FlashAttention.AUTO, True: FlashAttention.ON, False: FlashAttention.OFF}


@dataclass(frozen=True, slots=True)
class Claim:
    """The memory that one model takes: `total_bytes` as far as can be told, `sure_bytes` at least.

    `need` has the parts as they were computed, None where only the size on disk is known; both
    figures are 0 where nothing is. `measured` is what it was corrected by, None where by nothing.
    """

    model: str
    total_bytes: int = 0
    sure_bytes: int = 0
    size_bytes: int = 0
    need: Need | None = None
    measured: Measured | None = None

    @property
    def margin_bytes(self) -> int:
        """The part of it that must stay free, which models on the same GPUs share."""
        return self.need.margin_bytes if self.need is not None else 0

    def __str__(self) -> str:
        """The arithmetic, for people."""
        total = show_bytes(self.total_bytes)
        if self.need is None:
            return (
                f"about {total} ({show_bytes(self.size_bytes)} on disk and a fifth for context and"
                " buffers, as its header could not be read)"
            )
        if self.measured is not None:
            seen = self.measured
            return (
                f"{total}, as {seen.instance} measured {show_bytes(seen.size_bytes)} with"
                f" {seen.num_parallel} x {seen.context_length} tokens; computed"
                f" {explain(self.need)}"
            )
        return explain(self.need)


@dataclass(frozen=True, slots=True)
class Models:
    """What is known of models before they run, by model key.

    `size_bytes` on disk, `shapes` where headers could be read, `measured` what instances have said
    that it takes.
    """

    size_bytes: Mapping[str, int] = field(default_factory=dict)
    shapes: Mapping[str, ModelShape] = field(default_factory=dict)
    measured: Mapping[str, tuple[Measured, ...]] = field(default_factory=dict)

    def claim(self, model: str, settings: "Settings", gpus: Sequence[Gpu]) -> Claim:
        """What a model takes of these GPUs, none meaning the CPU, with these settings."""
        key = canonical(model)
        shape, size_bytes = self.shapes.get(key), self.size_bytes.get(key, 0)
        if shape is None:
            return Claim(model, rule_of_thumb(size_bytes), size_bytes, size_bytes)
        found = need(shape, use_of(settings, gpus))
        seen = worst(shape, self.measured.get(key, ()), found.use)
        if seen is None:
            return Claim(model, found.total_bytes, found.total_bytes, size_bytes, found)
        measured, off = seen
        total = max(0, round(off * comparable_bytes(found)) - found.host_bytes)
        total += found.overhead_bytes
        return Claim(model, total, total, size_bytes, found, measured)


def shared_bytes(claims: Sequence[Claim]) -> int:
    """What claims on the same GPUs have in common: all of their margins but the largest."""
    margins = [claim.margin_bytes for claim in claims]
    return sum(margins) - max(margins, default=0)


def rule_of_thumb(size_bytes: int) -> int:
    """GPU memory for a model of that size on disk: a fifth more, for its context and buffers.

    The usual rule (S. Stoelinga, "Calculating GPU memory for serving LLMs"), for want of a header.
    """
    return -(-size_bytes * 6 // 5)


def use_of(settings: "Settings", gpus: Sequence[Gpu]) -> Use:
    """How an instance with these settings runs a model on these GPUs."""
    return Use(
        context_length=settings.context_length or default_context(settings, gpus),
        num_parallel=settings.num_parallel or 1,
        cache_type=settings.kv_cache_type or "f16",
        flash_attention=_FLASH[settings.flash_attention],
        gpus=len(gpus),
    )


def default_context(settings: "Settings", gpus: Sequence[Gpu]) -> int:
    """The context that Ollama (0.15.5 and later) chooses by the memory of all GPUs that it sees."""
    spared_bytes = overhead_bytes(settings, gpus)
    memory_bytes = sum(gpu.memory_bytes - spared_bytes for gpu in gpus)
    return next((tokens for least, tokens in _TIERS if memory_bytes >= least), _LOWEST_TIER)
