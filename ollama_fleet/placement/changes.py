"""What has to happen for a running fleet to become another: instance by instance. Pure."""

from collections.abc import Iterable, Iterator, Mapping
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


def changes(
    now: Iterable[InstanceSpec], wanted: Iterable[InstanceSpec], *, program: bool = False
) -> Changes:
    """From what runs now to what is wanted. `program`: all processes are to run another program."""
    running = {spec.name: spec for spec in now}
    names = {spec.name: spec for spec in wanted}
    both = [(running[name], spec) for name, spec in names.items() if name in running]
    renewed = [Renewal(o, n) for o, n in both if _renews(o, n) or (program and not n.external)]
    anew = {renewal.new.name for renewal in renewed}
    return Changes(
        removed=tuple(spec for name, spec in running.items() if name not in names),
        renewed=tuple(renewed),
        added=tuple(spec for name, spec in names.items() if name not in running),
        altered=tuple(n for o, n in both if n.name not in anew and n != o),
    )


def batches(renewed: Iterable[Renewal]) -> Iterator[tuple[Renewal, ...]]:
    """In which order instances are renewed: one by one, where that can be.

    An instance starts when no other has the GPUs and the port any more that it is to have. Those
    that wait for one another in a circle are stopped together.
    """
    left = list(renewed)
    while left:
        free = [r for r in left if not _taken(r.new, (o.old for o in left if o is not r))]
        batch = tuple(free[:1] or left)
        yield batch
        left = [renewal for renewal in left if renewal not in batch]


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


def _taken(new: InstanceSpec, others: Iterable[InstanceSpec]) -> bool:
    """Whether one of the others still has a GPU or the port of it."""
    return any(_share(new, other) for other in others)


def _share(one: InstanceSpec, other: InstanceSpec) -> bool:
    if one.external or other.external:
        return False
    return one.port == other.port or bool(_gpus(one) & _gpus(other))


def _gpus(spec: InstanceSpec) -> frozenset[str]:
    return frozenset(gpu.uuid for gpu in spec.gpus)


def _at(spec: InstanceSpec, port: int) -> InstanceSpec:
    environment = {**spec.environment, "OLLAMA_HOST": f"{spec.host}:{port}"}
    return replace(spec, port=port, environment=environment)
