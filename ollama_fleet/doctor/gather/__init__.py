"""Looks at this machine for the doctor. Starts nothing but `ollama --version`, changes nothing."""

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import urlsplit

from ollama_fleet.config import Config
from ollama_fleet.control.measuring import read_measured
from ollama_fleet.control.service import Service, ask_version, find_services
from ollama_fleet.control.weighing import wanted_models, weighed
from ollama_fleet.doctor.access import certificate_facts
from ollama_fleet.doctor.backends import rocm_of
from ollama_fleet.doctor.facts import Facts, KeysFacts
from ollama_fleet.doctor.footprints import footprints
from ollama_fleet.doctor.gather import places, programs
from ollama_fleet.doctor.gather.found import PCI, nvidia_cards
from ollama_fleet.doctor.gather.found import running as left_running
from ollama_fleet.doctor.lacks import lacking
from ollama_fleet.doctor.privacy import open_to_others
from ollama_fleet.errors import PlacementError
from ollama_fleet.gpu import Inventory
from ollama_fleet.placement import Models, Placement, place
from ollama_fleet.system.needs import can_keep_instances
from ollama_fleet.vram.use import version_of

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
    inventory, running = await gpus.inventory(timeout_s), tuple(left_running(runs))
    ours = {fleet_pid, *(record.pid for record in running)} - {0}
    binary, services, externals = await asyncio.gather(
        asyncio.to_thread(programs.binary, config.ollama.binary, environ, timeout_s),
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
        stores=tuple(map(places.store, config.stores)),
        program=programs.program(),
        runs_own=bool(own) or error is not None,
        ports=tuple(places.ports(config, own)),
        services=tuple(_strangers(services, config)),
        externals=externals,
        nvidia_cards=nvidia_cards(PCI),
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
