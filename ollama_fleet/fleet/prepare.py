"""From a configuration to what would be run: GPUs found, instances placed, nothing started."""

import asyncio
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ollama_fleet.config import Address, Config, GroupConfig, Loaded
from ollama_fleet.control.ports import Claims, find_listener, is_free
from ollama_fleet.control.stores import model_sizes
from ollama_fleet.directories import Directories
from ollama_fleet.errors import FleetError, PortTaken, StartFailed
from ollama_fleet.gpu import GpuSource, Inventory
from ollama_fleet.gpu.discover import GpuReader, sources
from ollama_fleet.placement import Placement, place
from ollama_fleet.sim.hardware import SimulatedGpus
from ollama_fleet.sim.ollama.catalogue import install_profile
from ollama_fleet.sim.ollama.profile import Node, Profile, load
from ollama_fleet.sim.ollama.store import Store

FIRST_PORT = 11435  # the one behind Ollama's own
INVENTORY_TIMEOUT_S = 20.0  # a driver that was asleep may take seconds


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything that `fleet up` will carry out, and `fleet plan` prints.

    `argv` is the command of every instance, empty if the ollama binary is not there; `simulated`
    names the profile, "" for a real fleet; `claims` holds the instances' ports.
    """

    config: Config
    inventory: Inventory
    placement: Placement
    argv: tuple[str, ...]
    simulated: str
    reader: GpuReader
    claims: Claims

    def close(self) -> None:
        """Let go of the ports and the drivers."""
        self.claims.release()
        self.reader.close()


def prepare(
    loaded: Loaded,
    *,
    directories: Directories,
    environ: Mapping[str, str],
    simulate: str | None = None,
) -> Prepared:
    """Find the GPUs and place the instances; holds nothing afterwards. Raises FleetError."""
    plan = asyncio.run(
        prepared(loaded, directories=directories, environ=environ, simulate=simulate)
    )
    plan.close()
    return plan


async def prepared(
    loaded: Loaded,
    *,
    directories: Directories,
    environ: Mapping[str, str],
    simulate: str | None = None,
) -> Prepared:
    """The same on a running loop; the driver is asked off it."""
    config, inherited, found = one_spelling(loaded.config), dict(environ), sources()
    argv = _command(config, environ)
    if simulate is not None:
        profile = _profile(simulate)
        config, found = _simulated(loaded, profile, directories)
        inherited |= _simulation_environment(simulate, directories)
        argv = (sys.executable, "-m", "ollama_fleet.sim.ollama", "serve")
    claims = Claims(directories.ports)
    reader = GpuReader(found, time.monotonic)
    inventory = await reader.inventory(INVENTORY_TIMEOUT_S)
    placement = place(
        config,
        inventory,
        ports=_ports(config, claims),
        inherited=inherited,
        model_bytes=model_sizes(*config.stores),
    )
    return Prepared(
        config=config,
        inventory=inventory,
        placement=placement,
        argv=argv,
        simulated=simulate or "",
        reader=reader,
        claims=claims,
    )


def one_spelling(config: Config) -> Config:
    """The same, but that stores which links make one folder are called by one path.

    A store is known by its path: two would be changed as if one did not see the other's models.
    """
    known = {os.path.realpath(config.ollama.models): config.ollama.models}
    groups = tuple(
        group.model_copy(
            update={"store": known.setdefault(os.path.realpath(group.store), group.store)}
        )
        if group.store is not None
        else group
        for group in config.groups
    )
    return config.model_copy(update={"groups": groups})


def install_models(plan: Prepared) -> None:
    """Put the models into the simulated stores that their profile has from the start."""
    if plan.simulated:
        profile = _profile(plan.simulated)
        for path in plan.config.stores:
            store = Store(path)
            store.create_directories()
            install_profile(store, profile)


def _command(config: Config, environ: Mapping[str, str]) -> tuple[str, ...]:
    found = shutil.which(config.ollama.binary, path=environ.get("PATH"))
    return (found, "serve") if found else ()


def require_startable(plan: Prepared) -> None:
    """Raise StartFailed or PortTaken for what keeps instances of ours from being started."""
    own = [spec for spec in plan.placement.instances if not spec.external]
    if own and not plan.argv:
        raise StartFailed(
            f"the ollama binary {plan.config.ollama.binary!r} was not found",
            "install Ollama (https://ollama.com/download), set `ollama.binary` in fleet.yaml, "
            "or try a fleet without it: `fleet up --simulate`",
        )
    wanted = () if plan.config.instance_ports == "auto" else own
    for spec in wanted:
        if not is_free(spec.host, spec.port):
            raise PortTaken(
                f"port {spec.port}, wanted for {spec.name}, is taken by {find_listener(spec.port)}",
                "choose another `instance_ports`, or `auto`",
            )


def require_free(listen: Address) -> None:
    """Raise PortTaken, naming by whom, if the fleet cannot listen there."""
    if listen.port and not is_free(listen.host, listen.port):
        raise PortTaken(
            f"{listen} is taken by {find_listener(listen.port)}",
            "stop it, or listen elsewhere: --listen 127.0.0.1:PORT; "
            "`fleet init` says what to do about Ollama's own service",
        )


def _ports(config: Config, claims: Claims) -> Iterator[int]:
    """Ports for the instances; where they may be any, each is free when it is drawn."""
    if config.instance_ports == "auto":
        return claims.draw("127.0.0.1", FIRST_PORT)
    return iter(range(config.instance_ports, 65536))


def _profile(name: str) -> Profile:
    try:
        return load(name)
    except (ValueError, OSError) as error:
        raise FleetError(
            f"no simulation profile {name!r}: {error}",
            "built in are 4-mixed, 8xH100 and 2x24GB; any other is the path of a YAML file",
        ) from None


def _simulated(
    loaded: Loaded, profile: Profile, directories: Directories
) -> tuple[Config, tuple[GpuSource, ...]]:
    """The configuration on a simulated box: its own stores; without a file, a group per GPU.

    Groups that share a store in the file share one here.
    """
    config = loaded.config
    stores = directories.simulation / "models", directories.simulation / "stores"
    changes: dict[str, Any] = {
        "ollama": config.ollama.model_copy(update={"models": stores[0]}),
        "groups": tuple(_with_store(group, stores[1]) for group in config.groups),
    }
    if loaded.path is None:
        changes["groups"] = tuple(_group_per_gpu(profile.nodes))
    hardware = directories.simulation / "gpus"
    return config.model_copy(update=changes), (SimulatedGpus(profile, hardware),)


def _group_per_gpu(nodes: Sequence[Node]) -> Iterator[GroupConfig]:
    """Each with its own slots; the instances are called as those of a real box without a file."""
    for node in nodes:
        name = "gpu" if len(nodes) == 1 else f"gpu-{node.index}"
        yield GroupConfig(name=name, gpus=(node.index,), num_parallel=node.slots)


def _with_store(group: GroupConfig, stores: Path) -> GroupConfig:
    if group.store is None:
        return group
    name = hashlib.sha256(os.fsencode(group.store)).hexdigest()[:12]
    return group.model_copy(update={"store": stores / name})


def _simulation_environment(name: str, directories: Directories) -> dict[str, str]:
    path = Path(name)
    return {
        "OLLAMA_SIM_PROFILE": str(path.absolute()) if path.suffix else name,
        "OLLAMA_SIM_HARDWARE": str(directories.simulation / "gpus"),
    }
