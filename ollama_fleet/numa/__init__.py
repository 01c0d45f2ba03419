"""The machine's memory nodes and CPUs: records, and lists of CPUs as the kernel writes them. Pure.

`sysfs` reads them; `placement.binding` decides by them where an instance runs.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_RUN: Final = re.compile(r"[0-9]{1,5}(-[0-9]{1,5})?")
_MOST: Final = 1 << 16  # of CPUs or nodes; no kernel is built for as many


@dataclass(frozen=True, slots=True)
class NumaNode:
    """CPUs and memory that are near to each other; a node may have only one of the two.

    `cpus` are those that are online.
    """

    number: int
    cpus: tuple[int, ...] = ()
    has_memory: bool = True


@dataclass(frozen=True, slots=True)
class Topology:
    """The nodes of a machine by number, and what of it the fleet itself may use.

    `cores` holds the CPUs of each physical core, `sockets` those of each processor. All is empty
    where it is not known, and where there is nothing to choose: one node with CPUs.
    """

    nodes: tuple[NumaNode, ...] = ()
    cores: tuple[tuple[int, ...], ...] = ()
    sockets: tuple[tuple[int, ...], ...] = ()
    allowed_cpus: frozenset[int] = frozenset()
    allowed_nodes: frozenset[int] = frozenset()

    def cores_of(self, cpus: Iterable[int]) -> int:
        """How many physical cores these CPUs belong to."""
        wanted = frozenset(cpus)
        return sum(1 for core in self.cores if not wanted.isdisjoint(core))


def parse_list(text: str) -> tuple[int, ...]:
    """The numbers in `0-3,8,10-11`, in order; none for anything that the kernel would not write."""
    numbers: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        if _RUN.fullmatch(part) is None or int(last or first) >= _MOST:
            return ()
        numbers.update(range(int(first), int(last or first) + 1))
    return tuple(sorted(numbers))


def show_list(numbers: Iterable[int]) -> str:
    """Numbers as the kernel writes lists of them: `0-3,8`."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ",".join("-".join(map(str, run)) for run in runs)


__all__ = ["NumaNode", "Topology", "parse_list", "show_list"]
