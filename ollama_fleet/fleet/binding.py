"""Keeps the instances of a fleet to the part of this machine that is near to their GPUs."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from ollama_fleet.config import Config
from ollama_fleet.gpu import Inventory
from ollama_fleet.numa.sysfs import read_topology
from ollama_fleet.placement import Placement
from ollama_fleet.placement.binding import bound, told_by

_machine = cache(read_topology)  # once: a reload restarts nobody for what it does not say


def kept_near(
    placement: Placement, config: Config, inventory: Inventory, argv: Sequence[str]
) -> Placement:
    """The same with the CPUs and memory of each instance; a simulated box has those of its GPUs.

    `argv` is the command of every instance.
    """
    if inventory.simulated:
        return bound(placement, config, told_by(inventory.gpus), told=True)
    return bound(placement, config, _machine(), told=heeds_threads(argv))


def heeds_threads(argv: Sequence[str]) -> bool:
    """Whether runners of this program take as many threads as their environment says.

    Since 0.30 an Ollama runs llama-server, which lies where its installation has it; the runners
    of older ones are the program itself, and count the cores of the machine.
    """
    if not argv:
        return False
    installed = Path(argv[0]).resolve().parent.parent
    return (installed / "lib" / "ollama" / "llama-server").exists()
