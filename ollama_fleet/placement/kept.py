"""Memory of a GPU that models do not get: a display's, or what somebody wishes to keep. Pure.

A card that drives a display keeps 1 GiB, unless `gpu_overhead` is set, which then is what is kept
of every GPU of the group: users of desktops report from a few hundred MiB to 2 GB (1.8 GB by
nvidia-smi in NVIDIA/egl-wayland#126), most of it the browser's.

Ollama reckons with memory that is free, so what the desktop holds when a model is loaded is gone
already, and up to 0.24 it is told to spare half a GiB more, for what the desktop may come to hold.
From 0.30 on llama.cpp places the layers. It does not know OLLAMA_GPU_OVERHEAD, and leaves 1 GiB
free of its own accord, which is enough for that; LLAMA_ARG_FIT_TARGET would change that margin, but
where it is set Ollama adds no room for a model's projector any more (extraEnvsForStart in its
llm/llama_server.go). So only who sets `gpu_overhead` has it set, to that much more than 1 GiB.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from ollama_fleet.gpu import Gpu
from ollama_fleet.units import show_bytes

if TYPE_CHECKING:
    from ollama_fleet.config import Settings

_DISPLAY_BYTES: Final = 2**30
_GROWTH_BYTES: Final = 2**29
_OWN_MARGIN_BYTES: Final = 2**30


def with_kept(gpu: Gpu, settings: "Settings") -> Gpu:
    """The GPU with what is kept of it among its `reserved_bytes`."""
    kept = settings.gpu_overhead_bytes
    if kept is None:
        kept = _DISPLAY_BYTES if _shows(gpu) else 0
    return replace(gpu, reserved_bytes=gpu.reserved_bytes + kept) if kept else gpu


def overhead_bytes(settings: "Settings", gpus: Sequence[Gpu]) -> int:
    """What Ollama is told to spare of each GPU of an instance."""
    if settings.gpu_overhead_bytes is not None:
        return settings.gpu_overhead_bytes
    return _GROWTH_BYTES if any(map(_shows, gpus)) else 0


def variables(settings: "Settings", gpus: Sequence[Gpu]) -> dict[str, str]:
    """How it is told; none where nothing is to be spared."""
    overhead = overhead_bytes(settings, gpus)
    if not overhead:
        return {}
    told = {"OLLAMA_GPU_OVERHEAD": str(overhead)}
    if settings.gpu_overhead_bytes:
        told["LLAMA_ARG_FIT_TARGET"] = str(-(-(_OWN_MARGIN_BYTES + overhead) // 2**20))
    return told


def why(settings: "Settings", gpus: Sequence[Gpu]) -> tuple[str, ...]:
    """What to tell of it."""
    if settings.gpu_overhead_bytes is not None:
        wish = show_bytes(settings.gpu_overhead_bytes)
        told = bool(gpus and settings.gpu_overhead_bytes)
        return (f"{wish} of each GPU are not for models: `gpu_overhead`",) if told else ()
    return tuple(
        f"{show_bytes(_DISPLAY_BYTES)} of GPU {gpu.index} is kept for its display;"
        " `gpu_overhead` changes that"
        for gpu in gpus
        if _shows(gpu)
    )


def _shows(gpu: Gpu) -> bool:
    """Whether a display takes memory of its own; a card without any takes it from the system."""
    return gpu.display_active and bool(gpu.memory_bytes)
