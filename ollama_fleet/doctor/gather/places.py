"""What the fleet would take of the machine: its ports, and the folders of its models."""

import errno
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from ollama_fleet.config import Config
from ollama_fleet.control.ports import bind_trouble, find_listener
from ollama_fleet.control.stores import read_store
from ollama_fleet.control.stores.prunable import worth_pruning_bytes
from ollama_fleet.doctor.facts import PortFacts, StoreFacts
from ollama_fleet.placement import InstanceSpec


def ports(config: Config, own: Iterable[InstanceSpec]) -> Iterator[PortFacts]:
    """Those that fleet.yaml names, for the router and for instances of our own."""
    yield _port("listen", config.listen.host, config.listen.port)
    if config.instance_ports != "auto":
        yield from (_port("instance_ports", spec.host, spec.port) for spec in own)


def _port(purpose: str, host: str, port: int) -> PortFacts:
    trouble = bind_trouble(host, port)
    if trouble is None:
        return PortFacts(purpose, host, port)
    holder = find_listener(port) if trouble.errno == errno.EADDRINUSE else None
    return PortFacts(purpose, host, port, trouble.strerror or str(trouble), holder)


def store(path: Path) -> StoreFacts:
    """The store as this user sees it, or the nearest folder above it that is there."""
    try:
        exists = path.is_dir()
        there = next((p for p in (path, *path.parents) if p.is_dir()), Path("/"))
        inside = [p for p in (path / "blobs", path / "manifests") if p.is_dir()] if exists else []
        free_bytes = shutil.disk_usage(there).free
    except OSError:
        return StoreFacts(str(path), closed=(str(path),))
    folders = (there, *inside)
    return StoreFacts(
        str(path),
        exists,
        closed=tuple(str(p) for p in folders if not os.access(p, os.R_OK | os.X_OK)),
        read_only=tuple(str(p) for p in folders if not os.access(p, os.W_OK)),
        free_bytes=free_bytes,
        damage=tuple(map(str, read_store(path).damage())),
        prunable_bytes=worth_pruning_bytes(path, time.time()),
    )
