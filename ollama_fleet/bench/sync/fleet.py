"""A fleet as its users start it: `fleet up` on a fleet.yaml; asked, commanded, killed."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
import yaml

from ollama_fleet.bench.ports import free_port
from ollama_fleet.bench.sync.processes import until
from ollama_fleet.directories import Directories
from ollama_fleet.errors import FleetError

Record = Mapping[str, Any]
"""One line of a pull's progress; the last has the status `success`, or an `error`."""

_COMMAND: Final = (sys.executable, "-m", "ollama_fleet")
_UP_S: Final = 60.0
_DOWN_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str


class Fleet:
    """One fleet with a state directory and a port of its own; it may be started again and again.

    `document` is its fleet.yaml but for the port, `environ` what it is started with.
    """

    def __init__(
        self, folder: Path, document: Mapping[str, Any], environ: Mapping[str, str]
    ) -> None:
        address = f"127.0.0.1:{free_port()}"
        self.folder = folder
        self.url = f"http://{address}"
        self.environ = {**environ, "FLEET_STATE_DIR": str(folder / "state")}
        self.directories = Directories.find(self.environ)
        config = folder / "fleet.yaml"
        config.write_text(yaml.safe_dump({"listen": address, **document}))
        self._process: asyncio.subprocess.Process | None = None
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None))
        self._control = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(str(self.directories.socket)),
            timeout=aiohttp.ClientTimeout(total=None),
        )

    @property
    def pid(self) -> int:
        """Of the fleet's own process; 0 if it does not run."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else 0

    async def start(self) -> None:
        """Start it, and wait until all its instances are ready. Raises FleetError."""
        with (self.folder / "fleet.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *_COMMAND,
                "up",
                cwd=self.folder,
                env=self.environ,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        await until(self._is_ready, f"the fleet of {self.folder} is ready", _UP_S)

    async def kill(self) -> None:
        """SIGKILL to the fleet's own process: its instances live on, until it is started again."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    async def stop(self) -> None:
        """Stop it and its instances, also those that a killed one has left."""
        if self._process is not None and (self._process.returncode or 0) < 0:
            await self.start()  # who starts again sweeps away what a killed one has left
        if self._process is not None:
            with suppress(ProcessLookupError):
                for _ in range(2):  # the second: do not wait for answers
                    if self._process.returncode is None:  # asyncio alone may ask whether it lives
                        os.kill(self._process.pid, signal.SIGTERM)
            await asyncio.wait_for(self._process.wait(), _DOWN_S)
            self._process = None

    async def close(self) -> None:
        """Stop it for good."""
        try:
            await self.stop()
        finally:
            await self._http.close()
            await self._control.close()

    # -- what it tells --------------------------------------------------------------------------

    async def status(self) -> Mapping[str, Any]:
        """The snapshot as JSON: ollama_fleet.state.FleetSnapshot."""
        return await self._get("/v1/status")

    async def models(self) -> Mapping[str, Any]:
        """Which models are where: ollama_fleet.state.models.Models as JSON."""
        return await self._get("/v1/models")

    async def instances(self) -> Mapping[str, Mapping[str, Any]]:
        """The snapshots of the instances, each with its `pid`, `url` and `phase`, by name."""
        return {one["name"]: one for one in (await self.status())["instances"]}

    # -- what it does ---------------------------------------------------------------------------

    def pull(self, name: str, to: Sequence[str] = ()) -> AsyncGenerator[Record, None]:
        """Pull as `fleet pull` does, by the control socket: every record, as it comes."""
        body = {"model": name, "insecure": True, "to": list(to)}
        return _lines(self._control, "http://fleet/v1/pull", body)

    def pull_over_http(self, name: str) -> AsyncGenerator[Record, None]:
        """Pull as `ollama pull` does, through the router: every record, as it comes."""
        return _lines(self._http, f"{self.url}/api/pull", {"model": name, "insecure": True})

    def sync(self, name: str) -> AsyncGenerator[Record, None]:
        """Bring a model that some store has to those that lack it: every record, as it comes."""
        return _lines(self._control, "http://fleet/v1/sync", {"models": [name]})

    async def begin(self, *arguments: str) -> asyncio.subprocess.Process:
        """Start a `fleet` command, with its output in pipes."""
        return await asyncio.create_subprocess_exec(
            *_COMMAND,
            *arguments,
            cwd=self.folder,
            env=self.environ,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    async def run(self, *arguments: str) -> Done:
        """Run a `fleet` command to its end."""
        process = await self.begin(*arguments)
        out, err = await process.communicate()
        return Done(process.returncode or 0, out.decode(), err.decode())

    async def _is_ready(self) -> bool:
        if not self.pid:
            log = (self.folder / "fleet.log").read_text(errors="replace")
            raise FleetError(f"the fleet has ended: {log[-500:]}")
        try:
            found = await self.instances()
        except (aiohttp.ClientError, OSError):
            return False
        return all(one["phase"] == "ready" for one in found.values())

    async def _get(self, path: str) -> Mapping[str, Any]:
        async with self._control.get(f"http://fleet{path}") as answer:
            answer.raise_for_status()
            found: Mapping[str, Any] = await answer.json()
            return found


async def last_of(records: AsyncGenerator[Record, None]) -> Record:
    """The last record of a pull or a sync; empty if there was none."""
    last: Record = {}
    async for record in records:
        last = record
    return last


async def _lines(
    session: aiohttp.ClientSession, url: str, body: object
) -> AsyncGenerator[Record, None]:
    """Records as they come; a stream that is cut simply ends. A refusal is one record."""
    async with session.post(url, json=body) as answer:
        with suppress(aiohttp.ClientPayloadError, ConnectionError):
            async for line in answer.content:
                yield json.loads(line)


def plain_environ(home: Path, environ: Mapping[str, str]) -> Mapping[str, str]:
    """The environment of a fleet: nothing of the user's but where programs are."""
    return {"PATH": os.environ["PATH"], "HOME": str(home), **environ}
