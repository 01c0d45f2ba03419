"""All judgements, in the order in which a fleet would stumble over their subjects. Pure."""

from collections.abc import Callable, Iterator
from typing import Final

from ollama_fleet.doctor import access, footprints, lacks, machine, nvidia, privacy, rocm, software
from ollama_fleet.doctor.check import Check
from ollama_fleet.doctor.facts import Facts

_JUDGEMENTS: Final[tuple[Callable[[Facts], Iterator[Check]], ...]] = (
    software.python,
    software.libraries,
    lacks.platform,
    software.binary,
    software.versions,
    machine.gpus,
    machine.since_started,
    rocm.rocm,
    nvidia.slices,
    machine.placement,
    lambda facts: footprints.memory(facts.footprints),
    machine.stores,
    machine.ports,
    machine.services,
    machine.left_over,
    machine.open_files,
    privacy.privacy,
    access.keys,
    access.certificate,
)


def checks(facts: Facts) -> tuple[Check, ...]:
    """What the facts mean: one check or more per subject, each with a way to mend what is amiss."""
    return tuple(check for judge in _JUDGEMENTS for check in judge(facts))
