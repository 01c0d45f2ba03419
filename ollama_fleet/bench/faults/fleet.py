"""The fleet that faults are put into: four simulated GPUs, in processes of its own, as shipped."""

import asyncio
import re
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp

from ollama_fleet.bench.demo.fleet import TemporaryFleet
from ollama_fleet.bench.demo.stage import Stage
from ollama_fleet.directories import Directories

INSTANCES: Final = 4
SLOTS: Final = 50
MODEL: Final = "fault:1b"
IDLE_S: Final = 2.0
QUEUE_S: Final = 4.0
LATEST_S: Final = 60.0  # for anything to come about
_LOOK_S: Final = 0.01

_NODE: Final = """
  - gpu: {{ name: Simulated {number}, memory: 8GB }}
    slots: 50
    prefill_tokens_per_s: 4000
    decode_base_s: 0.1
    decode_per_busy_s: 0
    load_bytes_per_s: 4GB"""
_PROFILE: Final = """
name: faults
description: equal GPUs, many slots, slow tokens
version: 0.20.0
registry_bytes_per_s: 200MB
nodes:{nodes}
cpu:
  {{ slots: 1, prefill_tokens_per_s: 200, decode_base_s: 0.1, decode_per_busy_s: 0,
    load_bytes_per_s: 500MB }}
models:
  - {{ name: "{model}", size: 500MB, parameter_size: 1B, quantization: F16, family: llama }}
installed: ["{model}"]
outputs: {{ median_tokens: 40, sigma: 0.5, max_tokens: 512 }}
"""
_FLEET: Final = f"""
groups:
  - {{ name: gpu, gpus: auto, num_parallel: {SLOTS} }}
models:
  "{MODEL}": {{ preload: true }}
queue: {{ timeout: {QUEUE_S:g}s }}
limits: {{ first_byte_timeout: 5s, idle_timeout: {IDLE_S:g}s }}
supervision: {{ start_limit: 1000, backoff_first: 0.1s, backoff_max: 0.2s }}
"""


class FaultFleet:
    """A running fleet, and the hands to hurt it."""

    def __init__(
        self, url: str, control: aiohttp.ClientSession, session: aiohttp.ClientSession
    ) -> None:
        self.url = url
        self._control, self._session = control, session

    async def status(self) -> dict[str, Any]:
        """The snapshot."""
        async with self._control.get("http://fleet/v1/status") as answer:
            document: dict[str, Any] = await answer.json()
        return document

    async def instances(self) -> list[dict[str, Any]]:
        """The instances as the snapshot shows them."""
        rows: list[dict[str, Any]] = (await self.status())["instances"]
        return rows

    async def instance(self, name: str) -> dict[str, Any]:
        """One of them."""
        return next(row for row in await self.instances() if row["name"] == name)

    async def told(self, name: str, kinds: tuple[str, ...], since_s: float) -> float | None:
        """When the first event of these kinds about an instance was, in seconds after a moment.

        `since_s` is Unix time. None where there is none within LATEST_S.
        """
        until_s = time.monotonic() + LATEST_S
        query = {"instance": name, "since": f"{since_s:.6f}", "limit": "1000"}
        while time.monotonic() < until_s:
            async with self._control.get("http://fleet/v1/events", params=query) as answer:
                events = (await answer.json())["events"]
            for event in events:
                if event["kind"] in kinds:
                    return float(event["unix_s"]) - since_s
            await asyncio.sleep(_LOOK_S)
        return None

    async def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's series that have these labels."""
        async with self._control.get("http://fleet/metrics") as answer:
            page = await answer.text()
        total = 0.0
        for line in page.splitlines():
            found = re.fullmatch(rf"ollama_fleet_{name}(?:\{{(.*)\}})? (\S+)", line)
            if found and all(f'{k}="{v}"' in (found[1] or "") for k, v in labels.items()):
                total += float(found[2])
        return total

    async def until(self, holds: Callable[[list[dict[str, Any]]], bool]) -> float | None:
        """How long it takes until the instances are so; None if for ever."""
        began_s = time.monotonic()
        while time.monotonic() < began_s + LATEST_S:
            if holds(await self.instances()):
                return time.monotonic() - began_s
            await asyncio.sleep(_LOOK_S)
        return None

    async def ready(self) -> None:
        """Wait until all are up, have the model in memory and nothing to do, and none is out."""
        await self.until(
            lambda rows: all(
                row["phase"] == "ready" and row["resident"] and not row["ejected_s"]
                and row["health"] == "healthy" and not row["in_flight"]
                for row in rows
            )
        )  # fmt: skip

    async def set_faults(self, script: str, *names: str) -> None:
        """Give instances, all if none is named, their faults."""
        for row in await self.instances():
            if not names or row["name"] in names:
                url = row["url"] + "/sim/faults"
                async with self._session.post(url, data=script) as answer:
                    answer.raise_for_status()


@contextmanager
def fault_fleet(environ: Mapping[str, str], faults: str = "") -> Iterator[TemporaryFleet]:
    """The fleet, up; on leaving it is stopped and its folders are gone. Raises FleetError."""
    nodes = "".join(_NODE.format(number=number) for number in range(INSTANCES))
    with tempfile.TemporaryDirectory(prefix="fleet-faults-") as name:
        profile, config = Path(name, "faults.yaml"), Path(name, "fleet.yaml")
        profile.write_text(_PROFILE.format(nodes=nodes, model=MODEL))
        config.write_text(_FLEET)
        variables = {"FLEET_CONFIG": str(config), "OLLAMA_SIM_FAULTS": faults}
        with TemporaryFleet(Stage("", str(profile), variables), environ, quiet=True) as running:
            yield running


@asynccontextmanager
async def hands_on(running: TemporaryFleet) -> AsyncIterator[FaultFleet]:
    """The hands on a fleet that runs, all of whose instances are ready."""
    connector = aiohttp.UnixConnector(str(Directories.find(running.environ).socket))
    async with (
        aiohttp.ClientSession(connector=connector) as control,
        aiohttp.ClientSession() as session,
    ):
        fleet = FaultFleet(running.url, control, session)
        await fleet.ready()
        yield fleet
