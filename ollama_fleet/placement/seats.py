"""Which GPUs each instance of each group is to have, and why. Pure."""

import math
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ollama_fleet.errors import PlacementError
from ollama_fleet.gpu import Gpu, GpuKind, Inventory
from ollama_fleet.placement.kept import with_kept
from ollama_fleet.placement.shares import (
    NeedBytes,
    Share,
    auto_shares,
    better_division,
    named_shares,
    room_bytes,
    show_gpus,
    show_indices,
)

if TYPE_CHECKING:
    from ollama_fleet.config import GroupConfig, Settings

_LESSER: Final = {GpuKind.VIRTUAL: "virtual", GpuKind.INTEGRATED: "integrated"}
_WORTHWHILE: Final = (
    {GpuKind.DISCRETE, GpuKind.SLICE},
    {GpuKind.VIRTUAL},
    {GpuKind.INTEGRATED},
)  # the first of which a machine has any


@dataclass(frozen=True, slots=True)
class Seat:
    """A place for one instance of a group: its GPUs, none meaning the CPU.

    `sharers` is how many instances use those GPUs, itself included; `ordinal` counts within the
    group from 0.
    """

    name: str
    group: str
    ordinal: int
    gpus: tuple[Gpu, ...]
    sharers: int
    reasons: tuple[str, ...]

    @property
    def room_bytes(self) -> float:
        """Its part of the GPU memory for models; infinite where nobody knows, as on the CPU."""
        return room_bytes(self.gpus) / self.sharers if self.gpus else math.inf


@dataclass(frozen=True, slots=True)
class Seating:
    """All seats in order of group and number, and what to tell about GPUs that got none."""

    seats: tuple[Seat, ...]
    notes: tuple[str, ...]


def assign(
    groups: Iterable["GroupConfig"],
    inventory: Inventory,
    need_bytes: NeedBytes,
    defaults: "Settings",
) -> Seating:
    """Deal the GPUs to the instances of all groups; in what order these come changes nothing.

    `need_bytes` says how much memory a model takes of GPUs with a group's settings, which are laid
    over `defaults`; what these keep of a GPU is among its `reserved_bytes` in the seats.
    Raises PlacementError for GPUs that do not exist or cannot be used as a group asks.
    """
    by_name = sorted(groups, key=lambda group: group.name)
    named = _named(by_name, inventory)
    if not inventory.gpus and len(by_name) == 1 and by_name[0].gpus == "auto":
        return _on_cpu(by_name[0], inventory)
    taken = {gpu.uuid for gpus in named.values() for gpu in gpus}
    free, passed_over = _worthwhile(inventory.gpus, taken)
    seats: list[Seat] = []
    notes = list(inventory.notes)
    for group in by_name:
        chosen = free if group.gpus == "auto" else named[group.name]
        gpus = tuple(with_kept(gpu, group.over(defaults)) for gpu in chosen)
        if group.gpus == "auto":
            seats += _seats(group.name, auto_shares(group, gpus, need_bytes))
            notes += [*(() if free else _nothing_left(group.name, inventory)), *passed_over]
        else:
            seats += _seats(group.name, named_shares(group, gpus))
            notes += better_division(group, gpus)
    if all(group.gpus != "auto" for group in by_name):
        notes += [_idle(gpu) for gpu in inventory.gpus if gpu.uuid not in taken]
    return Seating(tuple(seats), tuple(notes))


def _seats(group: str, shares: Sequence[Share]) -> Iterator[Seat]:
    for ordinal, share in enumerate(shares):
        name = group if len(shares) == 1 else f"{group}-{ordinal}"
        yield Seat(name, group, ordinal, share.gpus, share.sharers, share.reasons)


def _on_cpu(group: "GroupConfig", inventory: Inventory) -> Seating:
    why = "; ".join(inventory.notes) or "the drivers list none"
    note = f"group `{group.name}` runs on the CPU, because no GPU was found: {why}"
    if inventory.own_gpu:
        note = f"group `{group.name}` runs on {inventory.own_gpu}, which Ollama uses by itself"
    return Seating(tuple(_seats(group.name, [Share((), (note,))] * group.count)), (note,))


def _worthwhile(
    gpus: Sequence[Gpu], taken: Container[str]
) -> tuple[tuple[Gpu, ...], tuple[str, ...]]:
    """The GPUs `auto` takes of those that are not `taken`, and a note for each it leaves.

    Cards and slices of them; on a machine that has none, virtual ones; on one without these, too,
    integrated ones.
    """
    there = {gpu.kind for gpu in gpus}
    kinds = next((kinds for kinds in _WORTHWHILE if kinds & there), set())
    left = [gpu for gpu in gpus if gpu.uuid not in taken]
    chosen = tuple(gpu for gpu in left if gpu.kind in kinds)
    return chosen, tuple(_beside(gpu) for gpu in left if gpu.kind not in kinds)


def _beside(gpu: Gpu) -> str:
    about = f"{show_gpus([gpu])} is {_LESSER[gpu.kind]}"
    return f"{about} and stays idle beside the others; a group may name it"


def _idle(gpu: Gpu) -> str:
    kind = f" {_LESSER[gpu.kind]}," if gpu.kind in _LESSER else ""
    return f"{show_gpus([gpu])} is{kind} in no group and stays idle"


def _nothing_left(group: str, inventory: Inventory) -> tuple[str, ...]:
    why = "the other groups have them" if inventory.gpus else "no GPU was found"
    return (f"group `{group}` has no instance: it takes the GPUs that are left, and {why}",)


# -- the GPUs a group names ------------------------------------------------------------------------


def _named(groups: Iterable["GroupConfig"], inventory: Inventory) -> dict[str, tuple[Gpu, ...]]:
    """The GPUs each group names, by group; none of them twice."""
    known = {gpu.uuid: gpu for gpu in inventory.gpus}
    known |= {str(gpu.index): gpu for gpu in inventory.gpus}
    owner: dict[str, str] = {}
    named: dict[str, tuple[Gpu, ...]] = {}
    for group in groups:
        refs = () if group.gpus == "auto" else tuple(map(str, group.gpus))
        for ref in refs:
            if ref not in known:
                raise _unknown(group.name, ref, inventory)
            gpu = known[ref]
            if gpu.uuid in owner:
                raise _twice(owner[gpu.uuid], group.name, gpu)
            owner[gpu.uuid] = group.name
        named[group.name] = tuple(known[ref] for ref in refs)
    return named


def _unknown(group: str, ref: str, inventory: Inventory) -> PlacementError:
    if not inventory.gpus:
        why = "; ".join(inventory.notes) or "the drivers list none"
        return PlacementError(
            f"group `{group}` names GPU {ref}, but no GPU was found: {why}",
            "`gpus: auto` takes what there is, `gpus: []` runs on the CPU",
        )
    slices = [gpu for gpu in inventory.gpus if gpu.parent_uuid == ref]
    if slices:
        return PlacementError(
            f"group `{group}` names GPU {ref}, a card that is divided: its slices are"
            f" {show_indices(slices)}",
            "name those, by index or UUID, with a `count` as large as their number",
        )
    said = {*inventory.remarks}
    about = [n for n in inventory.notes if n not in said or n.startswith(f"GPU {ref} ")]
    there = "; ".join(f"{gpu.index} = {gpu.name} {gpu.uuid}" for gpu in inventory.gpus)
    has = "; ".join([*about, f"it has {there}"])
    return PlacementError(
        f"group `{group}` names GPU {ref}, which this machine does not have: {has}",
        "name one of these by index or UUID, or write `gpus: auto`",
    )


def _twice(owner: str, group: str, gpu: Gpu) -> PlacementError:
    card = f"GPU {gpu.index} ({gpu.uuid})"
    if group == owner:
        return PlacementError(f"group `{group}` names {card} twice", "name it once")
    return PlacementError(
        f"{card} is in two groups, `{owner}` and `{group}`",
        "leave it in one of them; `count` runs several instances of one group on a GPU",
    )
