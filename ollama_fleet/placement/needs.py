"""How much memory a model takes on an instance, before it runs there. Pure.

From its header's shape and the group's settings where the header could be read, corrected by what
was measured of it; else a fifth more than its size on disk.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from ollama_fleet.gpu import Gpu, Vendor
from ollama_fleet.names import canonical
from ollama_fleet.placement.kept import overhead_bytes
from ollama_fleet.placement.shares import room_bytes
from ollama_fleet.units import show_bytes
from ollama_fleet.vram import FlashAttention, ModelShape, Need, Use, explain, need
from ollama_fleet.vram.measured import Measured, worst
from ollama_fleet.vram.scheduling import gpus_taken
from ollama_fleet.vram.use import DEFAULT_MARGIN_BYTES, LLAMA_SERVER_FROM

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
    `idle_bytes`, a part of both, are those of other GPUs that it cannot use: Ollama takes one of
    them for enough, and it is not.
    """

    model: str
    total_bytes: int = 0
    sure_bytes: int = 0
    size_bytes: int = 0
    need: Need | None = None
    measured: Measured | None = None
    idle_bytes: int = 0

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
        idle = (
            f" on one GPU, which Ollama takes for enough, and {show_bytes(self.idle_bytes)} of"
            " others that stay idle (`sched_spread: true` spreads it)"
            if self.idle_bytes
            else ""
        )
        if self.measured is not None:
            seen = self.measured
            return (
                f"{total}, as {seen.instance} measured {show_bytes(seen.size_bytes)} with"
                f" {seen.num_parallel} x {seen.context_length} tokens; computed"
                f" {explain(self.need)}{idle}"
            )
        return f"{explain(self.need)}{idle}"


@dataclass(frozen=True, slots=True)
class Models:
    """What is known of models before they run, by model key.

    `size_bytes` on disk, `shapes` where headers could be read, `measured` what instances have said
    that it takes; `version` is that of the Ollama that is to run them, its first two numbers: where
    nobody knows it, one from 0.30 on.
    """

    size_bytes: Mapping[str, int] = field(default_factory=dict)
    shapes: Mapping[str, ModelShape] = field(default_factory=dict)
    measured: Mapping[str, tuple[Measured, ...]] = field(default_factory=dict)
    version: tuple[int, int] = LLAMA_SERVER_FROM

    def of_version(self, version: tuple[int, int] | None) -> "Models":
        """The same for an Ollama of that version, if it is known."""
        return self if version is None else replace(self, version=version)

    def claim(self, model: str, settings: "Settings", gpus: Sequence[Gpu]) -> Claim:
        """What a model takes of these GPUs, none meaning the CPU, with these settings."""
        key = canonical(model)
        shape, size_bytes = self.shapes.get(key), self.size_bytes.get(key, 0)
        if shape is None:
            return Claim(model, rule_of_thumb(size_bytes), size_bytes, size_bytes)
        use = use_of(settings, gpus, self.version)
        free = [room_bytes([gpu]) for gpu in gpus]
        use = replace(use, gpus=gpus_taken(shape, use, free))
        found = need(shape, use)
        measured, off = worst(shape, self.measured.get(key, ()), use) or (None, 1.0)
        total = found.total_bytes + round((off - 1) * found.reported_bytes)
        idle = _idle_bytes(total, free) if use.gpus == 1 else 0
        total += idle
        return Claim(model, total, total, size_bytes, found, measured, idle)


def shared_bytes(claims: Sequence[Claim]) -> int:
    """What claims on the same GPUs have in common: all of their margins but the largest."""
    margins = [claim.margin_bytes for claim in claims]
    return sum(margins) - max(margins, default=0)


def rule_of_thumb(size_bytes: int) -> int:
    """GPU memory for a model of that size on disk: a fifth more, for its context and buffers.

    The usual rule (S. Stoelinga, "Calculating GPU memory for serving LLMs"), for want of a header.
    """
    return -(-size_bytes * 6 // 5)


def use_of(
    settings: "Settings", gpus: Sequence[Gpu], version: tuple[int, int] = LLAMA_SERVER_FROM
) -> Use:
    """How an instance with these settings runs a model on these GPUs, all of them."""
    return Use(
        context_length=settings.context_length or default_context(settings, gpus),
        num_parallel=settings.num_parallel or 1,
        cache_type=settings.kv_cache_type or "f16",
        flash_attention=_FLASH[settings.flash_attention],
        gpus=len(gpus),
        version=version,
        spreads=bool(settings.sched_spread),
        cuda=all(gpu.vendor is Vendor.NVIDIA for gpu in gpus),
        margin_bytes=_margin_bytes(settings),
    )


def _margin_bytes(settings: "Settings") -> int:
    """What llama-server leaves free on each GPU: nothing where it is not to fit a model at all."""
    if settings.llama_arg_fit is False:
        return 0
    wanted = settings.llama_arg_fit_target_bytes
    return DEFAULT_MARGIN_BYTES if wanted is None else wanted


def _idle_bytes(total_bytes: int, free_bytes: Sequence[float]) -> int:
    """What a model cannot use of several GPUs, where it is put on the freest and is too large."""
    freest = max(free_bytes)
    return int(sum(free_bytes) - freest) if total_bytes > freest else 0


def default_context(settings: "Settings", gpus: Sequence[Gpu]) -> int:
    """The context that Ollama (0.15.5 and later) chooses by the memory of all GPUs that it sees."""
    spared_bytes = overhead_bytes(settings, gpus)
    memory_bytes = sum(gpu.memory_bytes - spared_bytes for gpu in gpus)
    return next((tokens for least, tokens in _TIERS if memory_bytes >= least), _LOWEST_TIER)
