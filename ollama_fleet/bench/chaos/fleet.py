"""The fleet that is put under stress: four simulated GPUs, in processes of its own, as shipped."""

import asyncio
import json
import os
import signal
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

import aiohttp

from ollama_fleet.bench.chaos.asks import CHAT_MODELS, EMBEDDING_MODEL
from ollama_fleet.bench.demo.fleet import TemporaryFleet
from ollama_fleet.bench.demo.stage import Stage
from ollama_fleet.directories import Directories
from ollama_fleet.errors import Exit, FleetError

INSTANCES: Final = 4
_SLOTS: Final = 4
KEPT_CONNECTIONS: Final = _SLOTS * (len(CHAT_MODELS) + 1) + 1
"""To an instance: one per slot of each model, and one of the fleet's own."""
_COMMAND_S: Final = 60.0
_UNRETRIEVED: Final = "was never retrieved"

_NODE: Final = """
  - gpu: {{ name: Simulated {number}, memory: 8GB }}
    slots: 4
    prefill_tokens_per_s: 4000
    decode_base_s: 0.010
    decode_per_busy_s: 0.002
    load_bytes_per_s: 1GB"""
_MODEL: Final = """
  - {{ name: "{name}", size: 500MB, parameter_size: 1B, quantization: F16, family: llama{more} }}"""
_PROFILE: Final = """
name: chaos
description: equal GPUs with room for all models
version: 0.20.0
registry_bytes_per_s: 200MB
nodes:{nodes}
cpu:
  {{ slots: 1, prefill_tokens_per_s: 200, decode_base_s: 0.05, decode_per_busy_s: 0.01,
    load_bytes_per_s: 500MB }}
models:{models}
installed: {installed}
outputs: {{ median_tokens: 40, sigma: 0.5, max_tokens: 512 }}
"""
# Deadlines short enough that whoever waits in vain hears of it while the run lasts; instances come
# back soon, however often they are killed.
_FLEET: Final = """
groups:
  - { name: gpu, gpus: auto, num_parallel: 4 }
queue: { timeout: 20s }
limits: { first_byte_timeout: 8s, idle_timeout: 4s }
supervision:
  start_limit: 1000000
  backoff_first: 0.2s
  backoff_max: 1s
  stop_timeout: 2s
  drain_timeout: 5s
  probe_interval: 0.5s
  probe_timeout: 1s
"""


class ChaosFleet:
    """A running fleet that may be killed and started again."""

    def __init__(self, running: TemporaryFleet, profile: Path, journal: Path) -> None:
        self._running, self._profile, self._journal = running, profile, journal
        self._directories = Directories.find(running.environ)
        self.url = running.url

    @property
    def socket(self) -> Path:
        """Its control socket."""
        return self._directories.socket

    def pid(self) -> int:
        """Of the fleet's process, also of one that has just died; 0 before there was any."""
        with suppress(OSError, ValueError):
            return int(self._directories.lock.read_text())
        return 0

    async def kill(self) -> None:
        """SIGKILL to the fleet's process; return when it is gone."""
        gone, loop = asyncio.Event(), asyncio.get_running_loop()
        process = os.pidfd_open(self.pid())
        loop.add_reader(process, gone.set)
        try:
            signal.pidfd_send_signal(process, signal.SIGKILL)
            await gone.wait()
        finally:
            loop.remove_reader(process)
            os.close(process)

    async def start_again(self) -> None:
        """`fleet up`, as a user would after a crash. Raises FleetError if it does not come up."""
        arguments = ["up", "-d", "--wait-timeout", f"{_COMMAND_S:g}s", "--quiet"]
        arguments += ["--listen", self.url.removeprefix("http://")]
        code, said = await self.command(*arguments, "--simulate", str(self._profile))
        if code not in (Exit.OK, Exit.TIMEOUT):
            raise FleetError(f"`fleet up` after a crash: exit code {code}: {said}")

    async def command(self, *arguments: str) -> tuple[int, str]:
        """Run `fleet`; its exit code and what it said. It is killed where it takes too long."""
        process = await asyncio.create_subprocess_exec(
            *self._running.command(*arguments),
            cwd=self._running.directory,
            env=self._running.environ,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(_COMMAND_S + 10):
                _, said = await process.communicate()
        except TimeoutError:
            process.kill()
            await process.wait()
            return Exit.TIMEOUT, "it did not end"
        assert process.returncode is not None
        return process.returncode, said.decode(errors="replace").strip()

    async def status(self) -> dict[str, Any]:
        """The snapshot. Raises aiohttp.ClientError, OSError where the fleet does not run."""
        async with self._control() as control, control.get("http://fleet/v1/status") as answer:
            document: dict[str, Any] = await answer.json()
        return document

    async def metrics(self) -> str:
        """The page of metrics. Raises aiohttp.ClientError, OSError."""
        async with self._control() as control, control.get("http://fleet/metrics") as answer:
            return await answer.text()

    def attempts(self) -> Mapping[str, Sequence[float]]:
        """By request id: when the instances that began to answer it had got it."""
        found: dict[str, list[float]] = {}
        if self._journal.exists():
            for line in self._journal.read_bytes().splitlines():
                row = json.loads(line)
                found.setdefault(row["id"], []).append(row["came_s"])
        return found

    def unretrieved(self) -> int:
        """Exceptions of tasks that nobody has looked at, by the fleet's log."""
        logs = self._directories.logs.glob("fleet.log*")
        return sum(path.read_text(errors="replace").count(_UNRETRIEVED) for path in logs)

    def processes_left(self) -> int:
        """How many of its processes `fleet down` has left, runners included; they are killed."""
        return len(self._running.left)

    def _control(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(str(self.socket)),
            timeout=aiohttp.ClientTimeout(total=30),
        )


@contextmanager
def chaos_fleet(environ: Mapping[str, str]) -> Iterator[ChaosFleet]:
    """The fleet, up; on leaving it is stopped and its folders are gone. Raises FleetError."""
    with tempfile.TemporaryDirectory(prefix="fleet-chaos-") as name:
        folder = Path(name)
        profile, config, journal = (folder / n for n in ("chaos.yaml", "fleet.yaml", "journal"))
        profile.write_text(_profile())
        config.write_text(_FLEET)
        variables = {
            "FLEET_CONFIG": str(config),
            "OLLAMA_SIM_FAULTS": "",
            "OLLAMA_SIM_JOURNAL": str(journal),
            "OLLAMA_SIM_RUNNER": "1",
            "OLLAMA_SIM_NICE": "10",  # instances that start are busy as no server is, on two cores
        }
        stage = Stage("", str(profile), variables)
        with TemporaryFleet(stage, environ, quiet=True) as running:
            yield ChaosFleet(running, profile, journal)


def _profile() -> str:
    models = [_MODEL.format(name=name, more="") for name in CHAT_MODELS]
    embedding = ", embedding: true, embedding_length: 16"
    models.append(_MODEL.format(name=EMBEDDING_MODEL, more=embedding))
    return _PROFILE.format(
        nodes="".join(_NODE.format(number=number) for number in range(INSTANCES)),
        models="".join(models),
        installed=json.dumps([*CHAT_MODELS, EMBEDDING_MODEL]),
    )
