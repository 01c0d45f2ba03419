"""What `fleet init` writes: a commented fleet.yaml for the GPUs and servers it found. Pure."""

import json
import re
from collections.abc import Iterator, Sequence
from itertools import chain

from ollama_fleet.control.service import Service
from ollama_fleet.gpu import Gpu, GpuKind, Inventory
from ollama_fleet.units import show_bytes

_RANKS = ((GpuKind.DISCRETE, GpuKind.SLICE), (GpuKind.VIRTUAL,), (GpuKind.INTEGRATED,))
_HEAD = """\
# Ollama Fleet: the Ollama servers of this machine, and where requests enter.
# Every key is optional; docs/configuration.md explains them all, `fleet config check` tries them.
"""
_DEFAULTS = """\
defaults: # for all groups; each may set these for itself
  num_parallel: 4 # requests that an instance works on at once per model
  context_length: 8192 # tokens, where a request asks for none
  keep_alive: 30m # how long an idle model stays in memory
  flash_attention: true
"""
_MODELS = """\
# models: # loaded before an instance counts as ready, here on two of them
#   "qwen3:8b": { preload: true, replicas: 2 }
"""


def starter(inventory: Inventory, services: Sequence[Service]) -> str:
    """The text of a fleet.yaml that loads, and that this machine can place.

    GPUs that are alike form a group with an instance on each; without any there is one instance
    on the CPU. Servers that run already are left to the reader, with the ways to proceed.
    """
    sections = (
        _HEAD,
        *(_running(service) for service in services),
        "listen: 127.0.0.1:11434 # where clients find the fleet: Ollama's own address\n",
        _ollama(services),
        _DEFAULTS,
        "".join(_groups(inventory)),
        *_instances(services),
        _MODELS,
    )
    return "\n".join(sections)


def _running(service: Service) -> str:
    """What it means that this server runs, and the three ways to proceed."""
    what = f"Ollama {service.version}" if service.version else "Ollama"
    by = f", started by {service.managed_by}" if service.managed_by else ""
    return _comment(
        f"{what} already runs at {service.where} (pid {service.pid}, user {service.user}{by}).",
        "It competes for memory with what the fleet starts, and its port is not free. You can",
        f"- stop it: {service.stop}",
        "- share its models: give `ollama.models` its store, which this user must be able to write",
        "- keep it, with the fleet in front: see `instances`, and give `listen` another port",
    )


def _ollama(services: Sequence[Service]) -> str:
    stores = [service.store for service in services if service.store]
    store = _quoted(stores[0]) if stores else "~/.ollama/models"
    whose = "the store of the server that runs" if stores else "the store that all instances share"
    return (
        "ollama:\n"
        "  binary: ollama # a name to look up on PATH, or a path\n"
        f"  {_comment(f'models: {store} # {whose}')}"
    )


def _instances(services: Sequence[Service]) -> Iterator[str]:
    if services:
        yield _comment(
            "instances: # servers that someone else runs, to be used by the fleet too",
            *(
                f"  - {{ name: {'ollama' if i == 0 else f'ollama-{i}'},"
                f" url: {_quoted(service.base_url)} }}"
                for i, service in enumerate(services)
            ),
        )


# -- groups ----------------------------------------------------------------------------------------


def _groups(inventory: Inventory) -> Iterator[str]:
    yield "groups:\n"
    for note in inventory.notes:
        yield f"  {_comment(note)}"
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
    yield f"  {_comment(f'{len(kind)} x {kind[0].name}, {memory}')}"
    for gpu in kind:
        yield f"  {_comment(f'  {gpu.index} = {gpu.uuid}')}"


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


# -- text ------------------------------------------------------------------------------------------


def _comment(*lines: str) -> str:
    """Comment lines, whatever characters a driver or a path brings with it."""
    return "".join(
        "# " + "".join(c if c.isprintable() else " " for c in line).rstrip() + "\n"
        for line in lines
    )


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
