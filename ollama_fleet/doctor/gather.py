"""Looks at this machine for the doctor. Starts nothing but `ollama --version`, changes nothing."""

import asyncio
import errno
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

import yaml

from ollama_fleet.config import Config
from ollama_fleet.control.measuring import read_measured
from ollama_fleet.control.orphans import Action, RunRecord, decide, parse_record
from ollama_fleet.control.ports import find_listener
from ollama_fleet.control.processes import boot_id, find_process, living_members
from ollama_fleet.control.program import said, told_version
from ollama_fleet.control.service import Service, ask_version, find_services
from ollama_fleet.control.stores import read_store
from ollama_fleet.control.stores.prunable import worth_pruning_bytes
from ollama_fleet.control.weighing import wanted_models, weighed
from ollama_fleet.doctor.access import certificate_facts
from ollama_fleet.doctor.backends import rocm_of
from ollama_fleet.doctor.facts import (
    BinaryFacts,
    Facts,
    KeysFacts,
    PortFacts,
    ProgramFacts,
    StoreFacts,
)
from ollama_fleet.doctor.footprints import footprints
from ollama_fleet.doctor.lacks import lacking
from ollama_fleet.doctor.privacy import open_to_others
from ollama_fleet.errors import PlacementError
from ollama_fleet.gpu import Inventory
from ollama_fleet.placement import InstanceSpec, Models, Placement, place
from ollama_fleet.system.limits import open_files
from ollama_fleet.system.needs import can_keep_instances
from ollama_fleet.vram.use import version_of

_NVIDIA: Final = "0x10de"
_DISPLAY_CLASS: Final = "0x03"  # VGA and 3D controllers
_PCI: Final = Path("/sys/bus/pci/devices")
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


class Gpus(Protocol):
    """Who lists the GPUs without holding up the loop."""

    async def inventory(self, timeout_s: float) -> Inventory:
        """List all GPUs within that time. Never raises."""
        ...


async def gather(
    config: Config,
    *,
    gpus: Gpus,
    runs: Path,
    environ: Mapping[str, str],
    fleet_pid: int = 0,
    fleet_gpus: frozenset[str] | None = None,
    keys: KeysFacts | None = None,
    timeout_s: float = 5.0,
) -> Facts:
    """See how things stand, for at most some times `timeout_s`. Never raises.

    `runs` is the folder of run records, in the state folder; `fleet_pid` the fleet that runs
    now, 0 if none does, and `fleet_gpus` what it was started with; `keys` is who is let in, which
    is not for this to read.
    """
    inventory, running = await gpus.inventory(timeout_s), tuple(_running(runs))
    ours = {fleet_pid, *(record.pid for record in running)} - {0}
    binary, services, externals = await asyncio.gather(
        asyncio.to_thread(_binary, config.ollama.binary, environ, timeout_s),
        asyncio.to_thread(find_services, ours=ours, timeout_s=timeout_s),
        asyncio.to_thread(_externals, config, timeout_s),
    )
    seen = read_measured(runs.parent / "learned.json")
    models = weighed(config.stores, wanted_models(config), seen)
    models = models.of_version(version_of(binary.version))
    placement, error = _placed(config, inventory, environ, models)
    own = [spec for spec in placement.instances if not spec.external]
    return Facts(
        binary=binary,
        inventory=inventory,
        stores=tuple(map(_store, config.stores)),
        program=_program(),
        runs_own=bool(own) or error is not None,
        ports=tuple(_ports(config, own)),
        services=tuple(_strangers(services, config)),
        externals=externals,
        nvidia_cards=_nvidia_cards(_PCI),
        misplaced=error.reason if error else "",
        misplaced_hint=error.hint if error else "",
        placement_notes=tuple(n for n in placement.notes if n not in inventory.notes)
        if inventory.gpus
        else (),
        running=running,
        clients_wanted=config.limits.connections or config.queue.limit + _slots(placement),
        instances=len(placement.instances) if placement else 0,
        tls=config.tls.cert is not None,
        fleet_pid=fleet_pid,
        fleet_gpus=fleet_gpus,
        open_to_others=tuple(open_to_others(config, runs.parent)),
        footprints=tuple(footprints(models)),
        keys=keys,
        certificate=certificate_facts(config, time.time()),
        rocm=rocm_of(binary.path),
        lacks=tuple(lacking()),
        keeps_instances=can_keep_instances(),
        rocm_overridden=any(
            each.hsa_override_gfx_version for each in (config.defaults, *config.groups)
        ),
    )


def _placed(
    config: Config, inventory: Inventory, environ: Mapping[str, str], models: Models
) -> tuple[Placement, PlacementError | None]:
    """What `fleet up` would place; ports it would look for are numbered from 1."""
    first = 1 if config.instance_ports == "auto" else config.instance_ports
    try:
        placement = place(config, inventory, ports=count(first), inherited=environ, models=models)
    except PlacementError as error:
        return Placement(()), error
    return placement, None


def _slots(placement: Placement) -> int:
    return sum(max(spec.slots, spec.most_slots) for spec in placement.instances)


def _externals(config: Config, timeout_s: float) -> dict[str, str]:
    return {other.name: ask_version(other.url, timeout_s) for other in config.instances}


def _strangers(services: Iterable[Service], config: Config) -> Iterator[Service]:
    """The servers that fleet.yaml does not know as external instances on this machine."""
    urls = [urlsplit(external.url) for external in config.instances]
    known = {url.port for url in urls if url.hostname in _LOOPBACK}
    return (service for service in services if service.port not in known)


# -- programs --------------------------------------------------------------------------------------


def _binary(wanted: str, environ: Mapping[str, str], timeout_s: float) -> BinaryFacts:
    path = shutil.which(wanted, path=environ.get("PATH"))
    if path is None:
        return BinaryFacts(wanted)
    try:
        output = said(path, environ, timeout_s)
    except subprocess.TimeoutExpired:
        return BinaryFacts(wanted, path, trouble=f"it does not answer within {timeout_s:g} s")
    except OSError as error:
        return BinaryFacts(wanted, path, trouble=f"it cannot be run: {error.strerror or error}")
    found = told_version(output)
    words = " ".join(output.split())[:200] or "nothing"
    return BinaryFacts(wanted, path, found, "" if found else f"it says {words}")


def _program() -> ProgramFacts:
    _, most = open_files()  # `fleet up` takes all it may
    return ProgramFacts(
        python=sys.version_info[:3],
        yaml_in_c=hasattr(yaml, "CSafeLoader"),
        uvloop=_uvloop(),
        files=most,
    )


def _uvloop() -> str:
    with suppress(ImportError):
        return str(import_module("uvloop").__version__)
    return ""


# -- the machine -----------------------------------------------------------------------------------


def _nvidia_cards(devices: Path) -> int:
    """NVIDIA cards on the PCI bus, whether a driver runs them or not."""
    return sum(
        _read(device / "vendor") == _NVIDIA and _read(device / "class").startswith(_DISPLAY_CLASS)
        for device in devices.glob("*")
    )


def _read(path: Path) -> str:
    with suppress(OSError):
        return path.read_text(errors="replace").strip()
    return ""


def _ports(config: Config, own: Iterable[InstanceSpec]) -> Iterator[PortFacts]:
    yield _port("listen", config.listen.host, config.listen.port)
    if config.instance_ports != "auto":
        yield from (_port("instance_ports", spec.host, spec.port) for spec in own)


def _port(purpose: str, host: str, port: int) -> PortFacts:
    trouble = bind_trouble(host, port)
    if trouble is None:
        return PortFacts(purpose, host, port)
    holder = find_listener(port) if trouble.errno == errno.EADDRINUSE else None
    return PortFacts(purpose, host, port, trouble.strerror or str(trouble), holder)


def bind_trouble(host: str, port: int) -> OSError | None:
    """Why a program of ours could not listen there now; None if it could."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        return error
    except OverflowError:
        return OSError(errno.EINVAL, f"{port} is no port")
    return None


def _store(path: Path) -> StoreFacts:
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


def _running(runs: Path) -> Iterator[RunRecord]:
    """The instances with a run record of which something is alive."""
    boot, paths = boot_id(), list[Path]()
    with suppress(OSError):  # a folder of another user's
        paths = sorted(runs.glob("*.json"))
    for path in paths:
        with suppress(OSError, ValueError):
            record = parse_record(path.read_text(encoding="utf-8"))
            leader, members = find_process(record.pid), living_members(record.pid)
            if decide(record, leader, members, boot) is not Action.FORGET:
                yield record
