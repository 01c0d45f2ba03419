"""The stage of one case: a registry that counts, a fleet on its stores, Ollamas elsewhere."""

import os
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from ollama_fleet.bench.sync.fleet import Fleet, plain_environ
from ollama_fleet.bench.sync.ollamas import Program, Server, digests, program, served
from ollama_fleet.bench.sync.registry import Made, Registry, registry
from ollama_fleet.sim.ollama.catalogue import install_profile
from ollama_fleet.sim.ollama.profile import load
from ollama_fleet.sim.ollama.store import Store


@dataclass(frozen=True, slots=True)
class Setting:
    """What a case needs.

    `stores` groups with a store each: in the folders `places`, in turn, or beside one another.
    `remotes` are Ollamas of nobody's, each with a store of its own, which reach the fleet at the
    address `listener`. `more` goes into fleet.yaml, `environ` is what instances inherit.
    `simulated` says that no real Ollama will do; nor will one with a `profile`, the document of a
    simulation's, of which what is installed is in all stores from the start.
    """

    stores: int = 4
    remotes: int = 0
    places: Sequence[Path] = ()
    simulated: bool = False
    listener: str = "127.0.0.1:0"
    more: Mapping[str, Any] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    profile: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stage:
    """All that runs. `stores[n]` is that of the instance gN, `remotes[n]` is the instance farN.

    `folder` is the case's own, removed in the end.
    """

    folder: Path
    program: Program
    registry: Registry
    fleet: Fleet
    stores: Sequence[Path]
    remotes: Sequence[Server]
    session: aiohttp.ClientSession

    async def listed(self) -> Mapping[str, Mapping[str, str]]:
        """What each instance that is up lists itself: digests in hex by model, by instance."""
        found = (await self.fleet.instances()).values()
        return {
            one["name"]: await digests(self.session, one["url"])
            for one in found
            if one["pid"] or one["external"]
        }

    async def remove(self, made: Made, instance: str) -> None:
        """Have an instance delete a model itself, behind the fleet's back."""
        url = (await self.fleet.instances())[instance]["url"]
        body = {"model": made.stored}
        async with self.session.delete(f"{url}/api/delete", json=body) as answer:
            answer.raise_for_status()

    async def having(self, made: Made) -> Sequence[str]:
        """The instances that list a model under its right name and digest."""
        listed = await self.listed()
        return [name for name, models in listed.items() if models.get(made.stored) == made.digest]


@asynccontextmanager
async def stage(setting: Setting) -> AsyncIterator[Stage]:
    """Set it up, with the fleet ready; nothing of it is left in the end. Raises FleetError."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fleet-bench-")))
        places = [
            Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fleet-bench-", dir=place)))
            for place in setting.places
        ] or [folder]
        stores = [places[n % len(places)] / f"store{n}" for n in range(setting.stores)]
        session = await stack.enter_async_context(aiohttp.ClientSession())
        shelf = await stack.enter_async_context(registry(session))
        environ = {**os.environ, **setting.environ, **_installed(setting, folder, stores)}
        ollama = program(folder, environ, simulated=setting.simulated or bool(setting.profile))
        remotes = [
            await stack.enter_async_context(
                served(session, ollama, _made(folder / f"far{n}"), folder / f"far{n}" / "models")
            )
            for n in range(setting.remotes)
        ]
        document = _document(setting, ollama, shelf, stores, remotes)
        fleet = Fleet(folder, document, plain_environ(folder, ollama.environ))
        stack.push_async_callback(fleet.close)
        await fleet.start()
        yield Stage(folder, ollama, shelf, fleet, stores, remotes, session)


def _installed(setting: Setting, folder: Path, stores: Sequence[Path]) -> Mapping[str, str]:
    """Put the models of a profile into the stores; the variable that names the profile."""
    if not setting.profile:
        return {}
    path = folder / "profile.yaml"
    path.write_text(yaml.safe_dump(dict(setting.profile)))
    profile = load(str(path))
    for store in stores:
        install_profile(Store(store), profile)
    return {"OLLAMA_SIM_PROFILE": str(path)}


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _document(
    setting: Setting,
    ollama: Program,
    shelf: Registry,
    stores: Sequence[Path],
    remotes: Sequence[Server],
) -> Mapping[str, Any]:
    """The fleet.yaml: an instance on the CPU for each store, and the registry let in."""
    return {
        "ollama": {"binary": str(ollama.path)},
        "groups": [
            {"name": f"g{n}", "gpus": [], "store": str(store)} for n, store in enumerate(stores)
        ],
        "instances": [{"name": f"far{n}", "url": far.url} for n, far in enumerate(remotes)],
        "pulls": {"registries": [shelf.host], "insecure": True, "listen": setting.listener},
        "history": {"max_requests": 0},
        **setting.more,
    }
