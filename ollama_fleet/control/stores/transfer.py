"""A model from one store of this machine to another: planned, its blobs brought, then its name.

Until `place_manifest` nothing refers to the blobs, so that a kill at any moment leaves the old
model or none; what was brought is found again by the next try.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ollama_fleet.control.stores import layout
from ollama_fleet.control.stores.bringing import Way, bring_blob, is_whole, store_error
from ollama_fleet.control.stores.copying import Stopped, Tell, hash_of, write_all
from ollama_fleet.control.stores.files import in_the_making, make_folder
from ollama_fleet.control.stores.records import Disk, Layer, Manifest, Store
from ollama_fleet.control.stores.space import MARGIN_BYTES
from ollama_fleet.errors import BlobDamaged, StoreError
from ollama_fleet.system.files import give, sync_folder


@dataclass(frozen=True, slots=True)
class Transfer:
    """A model that a store is to have from another.

    `layers` are the blobs it lacks, each once; `path` is where the manifest goes below the store's
    manifests. `way` is how the blobs are expected to come, by the disks the stores are on: a disk
    may refuse a link, then they are copied. `disk` is that of the target; `near` are the stores on
    it that have a blob already, by digest: what is there comes from them, not from the source.
    """

    model: Manifest
    source: Path
    target: Path
    path: str
    layers: tuple[Layer, ...]
    way: Way
    disk: Disk | None
    near: Mapping[str, Path] = field(default_factory=dict)

    @property
    def copied(self) -> tuple[Layer, ...]:
        """The blobs that are expected to take room on the target's disk."""
        if self.way is not Way.COPY:
            return ()
        return tuple(layer for layer in self.layers if layer.digest not in self.near)


def plan_transfer(
    model: Manifest, source: Store, target: Store, sisters: Iterable[Store] = ()
) -> Transfer | None:
    """What it takes to have a model of `source` in `target`; None if it is there. Pure.

    Of blobs that one of the `sisters` on the target's disk has no second copy is made there.

    Ollama looks names up without regard to case: one that is there in another spelling is replaced.
    Raises StoreError where the source does not hold the model whole.
    """
    if target.holds(model):
        return None
    gone = frozenset(source.lacking(model.layers))
    layers = target.lacking(model.layers)
    near = {} if _one_disk(source, target) else _near(layers, target, sisters)
    lost = [layer.digest for layer in layers if layer in gone and layer.digest not in near]
    if lost:
        raise StoreError(
            f"{model.name} is damaged in {source.path}: {', '.join(lost)} missing or cut short",
            f"pull {model.name} again",
        )
    there = target.model(model.key)
    return Transfer(
        model=model,
        source=source.path,
        target=target.path,
        path=there.path if there else model.path,
        layers=layers,
        way=_expected(len(layers), len(layers) - len(near), one_disk=_one_disk(source, target)),
        disk=target.disk,
        near=near,
    )


def _near(layers: Iterable[Layer], target: Store, sisters: Iterable[Store]) -> dict[str, Path]:
    """Who on the target's disk has a blob that one of its models names."""
    beside = [store for store in sisters if store.path != target.path and _one_disk(store, target)]
    named = {(store.path, la) for store in beside for m in store.models for la in m.layers}
    return {
        layer.digest: store.path
        for layer in layers
        for store in beside
        if store.has(layer) and (store.path, layer) in named
    }


def _one_disk(one: Store, other: Store) -> bool:
    return one.disk is not None and other.disk is not None and one.disk.device == other.disk.device


def _expected(lacking: int, afar: int, *, one_disk: bool) -> Way:
    if not lacking:
        return Way.THERE
    return Way.LINK if one_disk or not afar else Way.COPY


def bring_blobs(
    transfer: Transfer,
    *,
    tell: Callable[[str, int], None],
    stopped: Stopped,
    margin_bytes: int = MARGIN_BYTES,
) -> Mapping[Way, int]:
    """Bring what the target lacks; the bytes that came each way.

    `tell(digest, bytes)` is told how much of a blob is there. Raises StoreError, of which what has
    been brought is kept; and TransferStopped soon after `stopped()` has said so.
    """
    came: Counter[Way] = Counter()
    for layer in transfer.layers:

        def tell_of_it(done_bytes: int, digest: str = layer.digest) -> None:
            tell(digest, done_bytes)

        way = bring_blob(
            layer,
            transfer.near.get(layer.digest, transfer.source),
            transfer.target,
            tell=tell_of_it,
            stopped=stopped,
            margin_bytes=margin_bytes,
        )
        came[way] += layer.size_bytes
    return came


def place_manifest(transfer: Transfer, *, stopped: Stopped = lambda: False) -> None:
    """Give the blobs their name: from now on the target has the model, equal to the byte.

    To be called in a turn of the target (Mutations.adding). Raises BlobDamaged where a blob is not
    there any more: a removal in the meantime may have taken it, so plan again; and StoreError.
    """
    for layer in transfer.model.layers:
        path = layout.blob_path(transfer.target, layer.digest)
        try:
            there = is_whole(path, layer)
        except OSError as error:
            raise store_error(error, path) from error
        if not there:
            raise BlobDamaged(f"{path} is not there any more", f"pull {transfer.model.name} again")
    wanted = layout.manifests(transfer.target) / transfer.path
    try:
        _place(transfer, wanted, stopped)
    except OSError as error:
        raise store_error(error, wanted) from error


def _place(transfer: Transfer, wanted: Path, stopped: Stopped) -> None:
    """Write beside, then rename: never in place, never a link, for Ollama rewrites manifests."""
    root = layout.manifests(transfer.target)
    sync_folder(
        layout.blobs(transfer.target)
    )  # the names of the blobs before the name of the model
    make_folder(root)
    name = hashlib.sha256(transfer.path.encode()).hexdigest()
    staged = layout.staging(transfer.target, root) / f"manifest-{name}"
    with in_the_making(staged, stopped) as descriptor:
        os.ftruncate(descriptor, 0)
        write_all(descriptor, memoryview(transfer.model.content))
        os.utime(descriptor, ns=(transfer.model.modified_ns, transfer.model.modified_ns))
        os.fsync(descriptor)
        make_folder(wanted.parent)
        give(descriptor, wanted.parent)
        staged.replace(wanted)
    sync_folder(wanted.parent)


def file_of(store: Path, digest: str) -> tuple[int, int]:
    """The very file that a blob is: its device and its inode. Raises StoreError."""
    path = layout.blob_path(store, digest)
    try:
        found = path.stat()
    except OSError as error:
        raise store_error(error, path) from error
    return found.st_dev, found.st_ino


def verify_blob(
    store: Path,
    layer: Layer,
    *,
    tell: Tell = lambda _: None,
    stopped: Stopped = lambda: False,
) -> None:
    """Hash a blob. Raises BlobDamaged where it is not what its name says; and StoreError."""
    path = layout.blob_path(store, layer.digest)
    try:
        digest = hash_of(path, tell=tell, stopped=stopped) if is_whole(path, layer) else ""
    except OSError as error:
        raise store_error(error, path) from error
    if digest != layer.digest.lower():
        what = f"has the content {digest}" if digest else "is missing or of the wrong size"
        raise BlobDamaged(f"{path} {what}", "remove the models that use it, and pull them again")
