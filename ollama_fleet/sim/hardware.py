"""Simulated GPUs as a `GpuSource`: the inventory of a profile, readings from the servers' files.

Memory used is the sum over the processes on a GPU; utilisation is busy slots over slots, at most
1. Temperature and power follow from the utilisation and are there for the eye only: 35 °C and
15 % of 300 W idle, 80 °C and 300 W busy. Files of processes that are gone do not count.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from ollama_fleet.gpu import Gpu, GpuKind, GpuLink, GpuReading, GpuSample, Inventory, Vendor
from ollama_fleet.sim.ollama.profile import Node, Profile

IDLE_C, BUSY_C = 35.0, 80.0
IDLE_W, BUSY_W = 45.0, 300.0


class SimulatedGpus:
    """The GPUs of a profile; `directory` is the servers' OLLAMA_SIM_HARDWARE."""

    def __init__(self, profile: Profile, directory: Path) -> None:
        self._profile = profile
        self._directory = directory

    def inventory(self) -> Inventory:
        """The profile's nodes as GPUs."""
        gpus = tuple(map(self._gpu, self._profile.nodes))
        return Inventory(gpus=gpus, notes=(f"profile {self._profile.name}",), simulated=True)

    def read(self) -> GpuSample:
        """What the servers that are alive use now."""
        return GpuSample(readings=tuple(self._reading(node) for node in self._profile.nodes))

    def close(self) -> None:
        """Nothing is held."""

    def _gpu(self, node: Node) -> Gpu:
        device = node.index if node.parent is None else node.parent
        return Gpu(
            uuid=node.uuid,
            index=node.index,
            name=node.gpu_name,
            vendor=Vendor(node.vendor),
            memory_bytes=node.memory_bytes,
            driver="simulated",
            kind=GpuKind(node.kind),
            parent_uuid=node.parent_uuid,
            pci_bus_id=f"0000:{device + 1:02x}:00.0",
            numa_node=node.numa_node,
            cpus=node.cpus,
            display_active=node.display,
            links=tuple(self._links(node)),
            reserved_bytes=node.reserved_bytes,
        )

    def _links(self, node: Node) -> Iterator[GpuLink]:
        for other in self._profile.nodes:
            wiring = self._profile.link(node.index, other.index)
            if wiring and other is not node:
                yield GpuLink(other.uuid, wiring.kind, wiring.bytes_per_s)

    def _reading(self, node: Node) -> GpuReading:
        usages = list(self._usages(node))
        busy = sum(usage["busy_slots"] for usage in usages)
        slots = sum(usage["slots"] for usage in usages)
        utilisation = min(busy / slots, 1.0) if slots else 0.0
        return GpuReading(
            uuid=node.uuid,
            memory_used_bytes=sum(usage["memory_used_bytes"] for usage in usages),
            utilisation_ratio=utilisation,
            temperature_c=IDLE_C + (BUSY_C - IDLE_C) * utilisation,
            power_w=IDLE_W + (BUSY_W - IDLE_W) * utilisation,
            pids=tuple(usage["pid"] for usage in usages if usage["memory_used_bytes"]),
        )

    def _usages(self, node: Node) -> Iterator[dict[str, Any]]:
        for path in sorted(self._directory.glob(f"{node.uuid}.*.json")):
            try:
                usage = json.loads(path.read_bytes())
            except (OSError, ValueError):
                continue  # removed since it was listed
            if _alive(usage["pid"]):
                yield usage


def _alive(pid: int) -> bool:
    """A process that runs; one that ended and was not waited for does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
