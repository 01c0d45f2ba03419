"""From a configuration to what would be run: GPUs found, instances placed, nothing started."""

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from ollama_fleet.config import Config, Loaded
from ollama_fleet.control.ports import Claims, find_listener, is_free
from ollama_fleet.directories import Directories
from ollama_fleet.errors import PortTaken, StartFailed
from ollama_fleet.fleet.binding import kept_near
from ollama_fleet.fleet.simulating import install_profile_models, profile_called
from ollama_fleet.fleet.wishes import Wish, wish
from ollama_fleet.gpu import Inventory
from ollama_fleet.gpu.discover import GpuReader
from ollama_fleet.placement import InstanceSpec, Models, Placement, place
from ollama_fleet.placement.changes import settle
from ollama_fleet.system.needs import require_keeping

FIRST_PORT = 11435  # the one behind Ollama's own
INVENTORY_TIMEOUT_S = 20.0  # a driver that was asleep may take seconds


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything that `fleet up` will carry out, and `fleet plan` prints.

    `argv` is the command of every instance, empty if the ollama binary is not there; `simulated`
    names the profile, "" for a real fleet; `claims` holds the instances' ports; `models` is what
    was known of the models when they were placed.
    """

    config: Config
    inventory: Inventory
    placement: Placement
    argv: tuple[str, ...]
    simulated: str
    reader: GpuReader
    claims: Claims
    models: Models = field(default_factory=Models)

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
    asked = wish(loaded, directories=directories, environ=environ, simulate=simulate)
    claims = Claims(directories.ports)
    reader = GpuReader(asked.sources, time.monotonic)
    inventory = await reader.inventory(INVENTORY_TIMEOUT_S)
    return Prepared(
        config=asked.config,
        inventory=inventory,
        placement=_placed(asked, inventory, _ports(asked.config, claims)),
        models=asked.models,
        argv=asked.argv,
        simulated=simulate or "",
        reader=reader,
        claims=claims,
    )


def prepared_anew(
    plan: Prepared,
    loaded: Loaded,
    *,
    directories: Directories,
    environ: Mapping[str, str],
    running: Iterable[InstanceSpec],
) -> Prepared:
    """What another configuration makes of a running fleet, on the GPUs that it found at its start.

    Who runs already keeps its port, where ports may be any. Raises FleetError.
    """
    asked = wish(loaded, directories=directories, environ=environ, simulate=plan.simulated or None)
    ports = {spec.name: spec.port for spec in running if not spec.external}
    if asked.config.instance_ports == "auto":
        placement = _placed(asked, plan.inventory, iter(range(FIRST_PORT, 65536)))
        drawn = plan.claims.draw("127.0.0.1", FIRST_PORT)
        placement = replace(placement, instances=settle(placement.instances, ports, drawn))
    else:
        placement = _placed(asked, plan.inventory, _ports(asked.config, plan.claims))
        ours = (spec for spec in placement.instances if not spec.external)
        _require_ports(spec for spec in ours if spec.port not in ports.values())
    made = replace(
        plan, config=asked.config, placement=placement, argv=asked.argv, models=asked.models
    )
    _require_program(made)
    return made


def _placed(asked: Wish, inventory: Inventory, ports: Iterator[int]) -> Placement:
    placement = place(
        asked.config,
        inventory,
        ports=ports,
        inherited=asked.inherited,
        models=asked.models,
    )
    return kept_near(placement, asked.config, inventory, asked.argv)


def install_models(plan: Prepared) -> None:
    """Put the models into the simulated stores that their profile has from the start."""
    if plan.simulated:
        install_profile_models(profile_called(plan.simulated), plan.config.stores)


def require_startable(plan: Prepared) -> None:
    """Raise StartFailed, PortTaken or the like for what keeps instances of ours from starting."""
    require_keeping([spec.name for spec in plan.placement.instances if not spec.external])
    _require_program(plan)
    if plan.config.instance_ports != "auto":
        _require_ports(spec for spec in plan.placement.instances if not spec.external)


def _require_program(plan: Prepared) -> None:
    own = [spec for spec in plan.placement.instances if not spec.external]
    if own and not plan.argv:
        raise StartFailed(
            f"the ollama binary {plan.config.ollama.binary!r} was not found",
            "install Ollama (https://ollama.com/download), set `ollama.binary` in fleet.yaml, "
            "or try a fleet without it: `fleet up --simulate`",
        )


def _require_ports(wanted: Iterable[InstanceSpec]) -> None:
    for spec in wanted:
        if not is_free(spec.host, spec.port):
            raise PortTaken(
                f"port {spec.port}, wanted for {spec.name}, is taken by {find_listener(spec.port)}",
                "choose another `instance_ports`, or `auto`",
            )


def _ports(config: Config, claims: Claims) -> Iterator[int]:
    """Ports for the instances; where they may be any, each is free when it is drawn."""
    if config.instance_ports == "auto":
        return claims.draw("127.0.0.1", FIRST_PORT)
    return iter(range(config.instance_ports, 65536))
