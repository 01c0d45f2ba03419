"""What has to happen for a running fleet to become another: instance by instance. Pure."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from ollama_fleet.placement.spec import InstanceSpec

# What a process never sees: it may change while the instance runs.
_LIVE: Final = ("group", "pinned", "preload", "weight", "reasons")


@dataclass(frozen=True, slots=True)
class Renewal:
    """An instance that has to be started anew, or found anew, to be what is wanted."""

    old: InstanceSpec
    new: InstanceSpec


@dataclass(frozen=True, slots=True)
class Changes:
    """What becomes of each instance; one that stands nowhere here stays as it is.

    `altered` are specs that are taken without touching a process.
    """

    removed: tuple[InstanceSpec, ...] = ()
    renewed: tuple[Renewal, ...] = ()
    added: tuple[InstanceSpec, ...] = ()
    altered: tuple[InstanceSpec, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.removed or self.renewed or self.added or self.altered)


@dataclass(frozen=True, slots=True)
class Move:
    """One step: who goes, who comes in its place; None is nobody."""

    old: InstanceSpec | None
    new: InstanceSpec | None


def changes(
    now: Iterable[InstanceSpec],
    wanted: Iterable[InstanceSpec],
    *,
    program: bool = False,
    anew: Collection[str] = (),
) -> Changes:
    """From what runs now to what is wanted.

    `program`: all processes are to run another program. `anew` names those that are to be started
    anew in any case.
    """
    running = {spec.name: spec for spec in now}
    names = {spec.name: spec for spec in wanted}
    both = [(running[name], spec) for name, spec in names.items() if name in running]
    ours = {n.name for _, n in both if not n.external and (program or n.name in anew)}
    renewed = [Renewal(o, n) for o, n in both if _renews(o, n) or n.name in ours]
    touched = {renewal.new.name for renewal in renewed}
    return Changes(
        removed=tuple(spec for name, spec in running.items() if name not in names),
        renewed=tuple(renewed),
        added=tuple(spec for name, spec in names.items() if name not in running),
        altered=tuple(n for o, n in both if n.name not in touched and n != o),
    )


def batches(made: Changes) -> Iterator[tuple[Move, ...]]:
    """In which order they are made, so that as many as can be serve at any time.

    Whoever can comes at once; then instances are renewed one by one; whoever only goes does so last
    but where another waits for its place. An instance starts when no other has the GPUs and the
    port any more that it is to have. Those that wait for one another in a circle are stopped
    together.
    """
    left = [
        *(Move(None, spec) for spec in made.added),
        *(Move(renewal.old, renewal.new) for renewal in made.renewed),
        *(Move(spec, None) for spec in made.removed),
    ]
    while left:
        batch = _first(left)
        yield batch
        left = [move for move in left if move not in batch]


def _first(left: Sequence[Move]) -> tuple[Move, ...]:
    """Which of these are made next, all at once."""
    comes = [(move, _in_the_way(move, left)) for move in left if move.new is not None]
    free = [move for move, way in comes if not way]
    if free:
        return tuple(move for move in free if move.old is None) or (free[0],)
    for _, way in comes:
        if all(other.new is None for other in way):
            return way
    return tuple(move for move in left if move.new is None) or tuple(left)


def between(
    now: Mapping[str, frozenset[str]], wanted: Mapping[str, frozenset[str]]
) -> Mapping[str, frozenset[str]]:
    """To whom models are bound while changes are made: to those from before and from after."""
    return {key: now[key] | wanted[key] for key in now if key in wanted}


def settle(
    wanted: Iterable[InstanceSpec], ports: Mapping[str, int], draw: Iterator[int]
) -> tuple[InstanceSpec, ...]:
    """The same with the ports that instances of these names have already, and drawn ones else."""
    return tuple(
        spec if spec.external else _at(spec, ports[spec.name] if spec.name in ports else next(draw))
        for spec in wanted
    )


def _renews(old: InstanceSpec, new: InstanceSpec) -> bool:
    same = {field: getattr(new, field) for field in _LIVE}
    return replace(old, **same) != new


def _in_the_way(move: Move, others: Iterable[Move]) -> tuple[Move, ...]:
    """Which of the others still have a GPU or the port that somebody is to have."""
    return tuple(other for other in others if other is not move and _blocks(other, move))


def _blocks(other: Move, move: Move) -> bool:
    old, new = other.old, move.new
    if old is None or new is None or old.external or new.external:
        return False
    return old.port == new.port or (_meet(old, new) and not _stay_together(other, move))


def _stay_together(one: Move, other: Move) -> bool:
    """Whether they share a GPU already, and are to go on with that."""
    return _meet(one.old, other.old) and _meet(one.new, other.new)


def _meet(one: InstanceSpec | None, other: InstanceSpec | None) -> bool:
    return one is not None and other is not None and bool(_gpus(one) & _gpus(other))


def _gpus(spec: InstanceSpec) -> frozenset[str]:
    return frozenset(gpu.uuid for gpu in spec.gpus)


def _at(spec: InstanceSpec, port: int) -> InstanceSpec:
    environment = {**spec.environment, "OLLAMA_HOST": f"{spec.host}:{port}"}
    return replace(spec, port=port, environment=environment)
