"""What the stores on this machine are like, for the list of models: room, damage, leftovers."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from ollama_fleet.control.stores import Manifest, Store, read_store
from ollama_fleet.control.stores.prunable import worth_pruning_bytes
from ollama_fleet.state import State
from ollama_fleet.state.models import Flaw, Shelf, Shelves

_MOST_LINES: Final = 20  # of what could not be read of a store


def read_shelves(paths: Iterable[str], now_s: float) -> Shelves:
    """Read some stores; `now_s` is Unix time. Blocks: call it on a thread. Never raises."""
    found = shelves_of([read_store(Path(path)) for path in paths])
    shelves = (
        replace(shelf, prunable_bytes=worth_pruning_bytes(Path(shelf.path), now_s))
        for shelf in found.shelves
    )
    return replace(found, shelves=tuple(shelves))


def store_paths(state: State) -> tuple[str, ...]:
    """The stores of our own instances, each once."""
    return tuple(
        dict.fromkeys(i.spec.store for i in state.instances.values() if not i.spec.external)
    )


def shelves_of(stores: Iterable[Store]) -> Shelves:
    """What is wrong in each store: models that lack blobs, and parts of those that others have."""
    stores = tuple(stores)
    known = {model.key: model for store in stores for model in store.models}
    return Shelves(
        shelves=tuple(map(_shelf, stores)),
        flaws={
            str(store.path): {**dict(_parts(store, known.values())), **dict(_damage(store))}
            for store in stores
        },
    )


def _shelf(store: Store) -> Shelf:
    return Shelf(
        path=str(store.path),
        free_bytes=store.disk.free_bytes if store.disk is not None else None,
        partials=len(store.partials),
        unreadable=store.unreadable[:_MOST_LINES],
    )


def _damage(store: Store) -> Iterator[tuple[str, Flaw]]:
    faults: dict[str, list[str]] = {}
    for each in store.damage():
        faults.setdefault(each.model, []).append(f"blob {each.digest[7:19]} is {each.fault}")
    for model in store.models:
        if model.name in faults:
            yield model.key, Flaw(damage=", ".join(faults[model.name]))


def _parts(store: Store, known: Iterable[Manifest]) -> Iterator[tuple[str, Flaw]]:
    """Models that the store lacks, and of which it has a blob that is not complete."""
    begun = {partial.digest: partial.completed_bytes for partial in store.partials}
    for model in known:
        if store.model(model.key) is None and any(la.digest in begun for la in model.layers):
            there = (
                layer.size_bytes if store.has(layer) else begun.get(layer.digest, 0)
                for layer in model.layers
            )
            yield model.key, Flaw(done_ratio=min(sum(there) / max(model.size_bytes, 1), 1.0))
