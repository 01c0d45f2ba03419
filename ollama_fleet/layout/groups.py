"""The `groups` of a starting fleet.yaml: GPUs that are alike form one. Pure."""

import re
from collections.abc import Iterator, Sequence
from itertools import chain

from ollama_fleet.gpu import Gpu, GpuKind, Inventory
from ollama_fleet.layout.comments import comment
from ollama_fleet.units import show_bytes

_RANKS = ((GpuKind.DISCRETE, GpuKind.SLICE), (GpuKind.VIRTUAL,), (GpuKind.INTEGRATED,))


def groups(inventory: Inventory) -> Iterator[str]:
    """The section, in pieces; without GPUs a group on the CPU, and why there are none."""
    yield "groups:\n"
    for note in inventory.notes:
        yield f"  {comment(note)}"
    kinds = _alike(inventory)
    if not kinds:
        yield "  - name: cpu\n    gpus: [] # none was found: the CPU; auto takes what there is\n"
    elif len(kinds) == 1:
        yield from _listed(kinds[0])
        yield "  - name: gpu\n    gpus: auto # all of them, with an instance on each\n"
    else:
        for name, kind in zip(_names(kinds), kinds, strict=True):
            yield from _listed(kind)
            indices = ", ".join(str(gpu.index) for gpu in kind)
            yield f"  - name: {name}\n    gpus: [{indices}] # by index, or by UUID\n"
            if len(kind) > 1:
                over = (
                    "none sees two slices" if _is_slice(kind[0]) else "1 is one instance over all"
                )
                yield f"    count: {len(kind)} # an instance on each; {over}\n"
    yield '    # models: ["llama3.3:70b"] # pinned: loaded at start, served by this group only\n'


def _listed(kind: Sequence[Gpu]) -> Iterator[str]:
    """What kind of GPU it is, and which ones, as comments."""
    memory_bytes = kind[0].memory_bytes
    memory = f"{show_bytes(memory_bytes)} each" if memory_bytes else "memory of the system"
    yield f"  {comment(f'{len(kind)} x {kind[0].name}, {memory}')}"
    for gpu in kind:
        yield f"  {comment(f'  {gpu.index} = {gpu.uuid}')}"


def _alike(inventory: Inventory) -> tuple[tuple[Gpu, ...], ...]:
    """GPUs by vendor, name and memory: those that `gpus: auto` would take, the others left out."""
    ranks = ([gpu for gpu in inventory.gpus if gpu.kind in rank] for rank in _RANKS)
    kinds: dict[tuple[str, str, int], list[Gpu]] = {}
    for gpu in next(filter(None, ranks), []):
        kinds.setdefault((gpu.vendor.value, gpu.name, gpu.memory_bytes), []).append(gpu)
    return tuple(map(tuple, kinds.values()))


def _is_slice(gpu: Gpu) -> bool:
    return gpu.kind is GpuKind.SLICE


def _names(kinds: Sequence[Sequence[Gpu]]) -> list[str]:
    """A name for the group of each kind, such as `rtx-4090-24g`.

    All end in a letter, so that none can be that of another group's numbered instance, and have a
    hyphen, so that YAML takes none for a number or for `null`.
    """
    names: list[str] = []
    for gpu, *_ in kinds:
        card = _slug(gpu.name)
        full = f"{card}-{round(gpu.memory_bytes / 2**30)}g"
        short = [card] if "-" in card and card[-1].isalpha() else []
        choices = chain(short, [full], _numbered(full))
        names.append(next(name for name in choices if name not in names))
    return names


def _slug(card: str) -> str:
    """The name of a card without its makers', in what the name of a group may hold."""
    words = re.findall(r"[a-z0-9]+", card.lower())
    telling = [w for w in words if w not in {"nvidia", "amd", "geforce", "radeon", "graphics"}]
    return "-".join(telling)[:40].strip("-") or "gpu"


def _numbered(name: str) -> Iterator[str]:
    number = 2
    while True:
        yield f"{name}-{number}x"
        number += 1
