"""Judgements on AMD's cards: whether the Ollama that is to use them can. Pure."""

from collections.abc import Iterator, Sequence
from typing import Final

from ollama_fleet.doctor.check import Check, Status
from ollama_fleet.doctor.facts import Facts
from ollama_fleet.doctor.software import parse_version
from ollama_fleet.gpu import Gpu, GpuKind, Vendor

NUMBERS_SINCE: Final = (0, 30, 0)
_OVERRIDES: Final = "docs/hardware.md says which value goes for which card"


def rocm(facts: Facts) -> Iterator[Check]:
    """Whether models can run on the AMD cards; nothing is said where there are none."""
    gpus = [gpu for gpu in facts.inventory.gpus if gpu.vendor is Vendor.AMD]
    if gpus and facts.runs_own and not facts.inventory.simulated:
        amiss = [*_lacking(facts), *_unsupported(facts, gpus), *_numbered(facts, gpus)]
        yield from amiss or [Check("rocm", Status.OK, _well(gpus, facts.rocm.backends))]


def _lacking(facts: Facts) -> Iterator[Check]:
    if facts.rocm.folder and not facts.rocm.backends:
        yield Check(
            "rocm",
            Status.WARN,
            f"Ollama has no ROCm library in {facts.rocm.folder}: models run on the CPU",
            "install Ollama's package for AMD cards (ollama-linux-amd64-rocm, of the same version"
            " as Ollama; its install script does so where it finds such a card)",
        )


def _unsupported(facts: Facts, gpus: Sequence[Gpu]) -> Iterator[Check]:
    """GPUs for which the library has no code, unless it is to take them for another chip."""
    targets = facts.rocm.targets
    wrong = [gpu for gpu in gpus if gpu.architecture and gpu.architecture not in targets]
    if targets and wrong and not facts.rocm_overridden:
        yield Check(
            "rocm",
            Status.WARN,
            f"Ollama's ROCm library is not built for {_shown(wrong)}: models run on the CPU",
            "set `hsa_override_gfx_version` for their group to a chip that is near enough"
            f" ({_OVERRIDES}), or name other GPUs",
        )


def _numbered(facts: Facts, gpus: Sequence[Gpu]) -> Iterator[Check]:
    """An older Ollama hands its runner the number a card has among those it sees itself.

    It gives the first of them 0, so that the runner would be on another card.
    """
    version = parse_version(facts.binary.version)
    wrong = [
        gpu
        for gpu in gpus
        if gpu.visible_as.isdigit() and (gpu.visible_as != "0" or gpu.kind is GpuKind.SLICE)
    ]
    if wrong and version is not None and version < NUMBERS_SINCE:
        yield Check(
            "rocm",
            Status.WARN,
            f"ROCm knows {_shown(wrong)} by number alone, and Ollama {facts.binary.version} takes"
            " another card for it",
            "update Ollama to 0.30.0 or newer, or leave these GPUs out of the groups",
        )


def _shown(gpus: Sequence[Gpu]) -> str:
    return ", ".join(
        f"GPU {gpu.index} ({', '.join(filter(None, [gpu.name, gpu.architecture]))})" for gpu in gpus
    )


def _well(gpus: Sequence[Gpu], backends: Sequence[str]) -> str:
    cards = f"{len(gpus)} AMD GPU{'s' if len(gpus) > 1 else ''} can be used"
    return f"{cards} by Ollama's {', '.join(backends)}" if backends else cards
