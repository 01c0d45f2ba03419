"""Loads models of known shape into a real Ollama on the CPU, and reads off what they took."""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import aiohttp

from ollama_fleet.bench.sync.ollamas import Program, Server, served
from ollama_fleet.bench.vram.row import Measured
from ollama_fleet.errors import FleetError
from ollama_fleet.vram import FlashAttention, Use

_MIB: Final = 2**20
_LOAD_TIMEOUT_S: Final = 300
_BUFFERS: Final = re.compile(r"\S+ (model|KV|RS|compute) buffer size = +([\d.]+) MiB")
_REQUIRED: Final = re.compile(r"msg=memory success=true (.*)")
_PARTS: Final = re.compile(r'required\.(?:\S+?\.)?(\w+)="?\[?([\d ]+)')
_KIND: Final = {
    "model": "weights", "KV": "cache", "RS": "cache", "compute": "graph",
    "InputWeights": "weights", "Weights": "weights", "Cache": "cache", "Graph": "graph",
}  # fmt: skip
_FLAG: Final[Mapping[FlashAttention, Mapping[str, str]]] = {
    FlashAttention.AUTO: {},
    FlashAttention.ON: {"OLLAMA_FLASH_ATTENTION": "1"},
    FlashAttention.OFF: {"OLLAMA_FLASH_ATTENTION": "0"},
}


@dataclass(frozen=True, slots=True)
class Trial:
    """An Ollama that runs with the settings of `use`; another context may be asked of it."""

    session: aiohttp.ClientSession
    server: Server
    log: Path
    use: Use

    async def load(self, model: str, context_length: int, *, embeds: bool) -> Measured:
        """Load a model and unload it again. Raises FleetError if that cannot be done."""
        start = self.log.stat().st_size
        path, empty = ("embed", {"input": ""}) if embeds else ("generate", {})
        body = {"model": model, **empty}
        await self._post(path, {**body, "options": {"num_ctx": context_length}})
        async with self.session.get(f"{self.server.url}/api/ps") as answer:
            listed = (await answer.json())["models"]
        await self._post(path, {**body, "keep_alive": 0})
        with self.log.open("rb") as file:
            file.seek(start)
            parts = allocated(file.read().decode(errors="replace"))
        reported = next((each["size"] for each in listed if each["name"] == f"{model}:latest"), 0)
        return Measured(parts["weights"], parts["cache"], parts["graph"], reported)

    async def _post(self, path: str, body: Mapping[str, Any]) -> None:
        timeout = aiohttp.ClientTimeout(total=_LOAD_TIMEOUT_S)
        url = f"{self.server.url}/api/{path}"
        try:
            async with self.session.post(url, json=body, timeout=timeout) as answer:
                if answer.status != 200:
                    raise FleetError(f"{body['model']} was not loaded: {await answer.text()}")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise FleetError(f"{body['model']} was not loaded: {error!r}") from error


def allocated(log: str) -> dict[str, int]:
    """Bytes of weights, cache and graph by a runner's log of one load.

    llama.cpp tells of each buffer; Ollama's own engine of all of them, several times while it finds
    a layout: the last one counts.
    """
    parts = {"weights": 0, "cache": 0, "graph": 0}
    for kind, size in _BUFFERS.findall(log):
        parts[_KIND[kind]] += round(float(size) * _MIB)
    required = _REQUIRED.findall(log)
    if not parts["weights"] and required:
        for name, sizes in _PARTS.findall(required[-1]):
            parts[_KIND[name]] += sum(map(int, sizes.split()))
    return parts


@asynccontextmanager
async def trial(ollama: Program, home: Path, store: Path, use: Use) -> AsyncIterator[Trial]:
    """Run an Ollama without GPUs under these settings, its home a folder that exists.

    Raises FleetError if it stays down.
    """
    environ = {
        **ollama.environ,
        **_FLAG[use.flash_attention],
        "OLLAMA_DEBUG": "1",
        "OLLAMA_NOPRUNE": "1",
        "OLLAMA_NUM_PARALLEL": str(use.num_parallel),
        "OLLAMA_KV_CACHE_TYPE": use.cache_type,
        "CUDA_VISIBLE_DEVICES": "-1",
        "ROCR_VISIBLE_DEVICES": "-1",
        "OLLAMA_VULKAN": "0",
    }
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session,
        served(session, replace(ollama, environ=environ), home, store) as server,
    ):
        async with session.get(f"{server.url}/api/version") as answer:
            version = str((await answer.json())["version"])
        yield Trial(session, server, home / "log", replace(use, version=_numbers(version)))


def _numbers(version: str) -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", version)
    if found is None:
        raise FleetError(f"this Ollama calls its version {version!r}")
    return int(found[1]), int(found[2])
