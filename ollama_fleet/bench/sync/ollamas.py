"""The Ollama that a fleet is started with, and one that runs beside it as if elsewhere."""

import asyncio
import os
import shlex
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from ollama_fleet.bench.ports import free_port
from ollama_fleet.bench.sync.processes import ended, until


@dataclass(frozen=True, slots=True)
class Program:
    """The path of a program that takes `serve`, and what else its environment has."""

    path: Path
    real: bool
    environ: Mapping[str, str]


def program(folder: Path, environ: Mapping[str, str], *, simulated: bool = False) -> Program:
    """The real one that OLLAMA_BIN names; without that, or if `simulated`, ours in its place.

    The simulated one is fifty times as fast as life, unless OLLAMA_SIM_TIME_SCALE says otherwise.
    """
    kept = {name: text for name, text in environ.items() if name.startswith("OLLAMA_SIM_")}
    named = environ.get("OLLAMA_BIN")
    if named and not simulated:
        return Program(Path(named).absolute(), real=True, environ={})
    path = folder / "ollama"
    path.write_text(
        f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m ollama_fleet.sim.ollama "$@"\n'
    )
    path.chmod(0o700)
    return Program(path, real=False, environ={"OLLAMA_SIM_TIME_SCALE": "50", **kept})


class Server:
    """An `ollama serve` that is not of the fleet. `store` is its own; `pid` its process."""

    def __init__(self, session: aiohttp.ClientSession, url: str, store: Path, pid: int) -> None:
        self._session = session
        self.url, self.store, self.pid = url, store, pid

    async def digests(self) -> Mapping[str, str]:
        """What it lists: the digest of each model's manifest, in hex, by name."""
        return await digests(self._session, self.url)

    async def is_up(self) -> bool:
        """Whether it answers."""
        try:
            await self.digests()
        except (aiohttp.ClientError, TimeoutError):
            return False
        return True


async def digests(session: aiohttp.ClientSession, url: str) -> Mapping[str, str]:
    """What an Ollama lists: the digest of each model's manifest, in hex, by name."""
    async with session.get(f"{url}/api/tags") as answer:
        answer.raise_for_status()
        return {model["name"]: model["digest"] for model in (await answer.json())["models"]}


@asynccontextmanager
async def served(
    session: aiohttp.ClientSession, ollama: Program, home: Path, store: Path
) -> AsyncIterator[Server]:
    """An `ollama serve` on a store, its home a folder that exists.

    Raises FleetError if it stays down.
    """
    address = f"127.0.0.1:{free_port()}"
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "OLLAMA_MODELS": str(store),
        "OLLAMA_HOST": address,
        "OLLAMA_NO_CLOUD": "1",
        **ollama.environ,
    }
    with (home / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            ollama.path,
            "serve",
            env=environ,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    async with ended(process):
        server = Server(session, f"http://{address}", store, process.pid)
        await until(server.is_up, f"the Ollama at {address} answers")
        yield server
