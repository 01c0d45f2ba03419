"""Where a demo plays: on this machine's GPUs, or on simulated ones."""

import asyncio
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ollama_fleet.bench.workload import Workload
from ollama_fleet.gpu.discover import GpuReader, sources

PROFILE = "4-mixed"
PULLED = "tiny"  # a model that the profile's registry has and its store has not
TIME_SCALE = "20"  # a model that takes 8 s to load takes 0.4 s
_INVENTORY_TIMEOUT_S = 20.0

Row = Mapping[str, Any]  # of /api/tags


@dataclass(frozen=True, slots=True)
class Stage:
    """What a demo's fleet is started with. `simulate` is a profile, "" for the real thing."""

    said: str
    simulate: str = ""
    environ: Mapping[str, str] = field(default_factory=dict)


def stages(environ: Mapping[str, str]) -> Iterator[Stage]:
    """The real one if this machine has what it takes, then the simulated one, which always has."""
    binary = environ.get("OLLAMA_BIN") or shutil.which("ollama", path=environ.get("PATH", ""))
    gpus = _count_gpus() if binary else 0
    missing = "no ollama was found" if not binary else "no GPU was found"
    if binary and gpus:
        yield Stage(
            said=f"a fleet on {gpus} GPU{'s' * (gpus > 1)} with {binary}",
            environ={"FLEET_OLLAMA__BINARY": str(Path(binary).absolute())},
        )
        missing = "there is nothing real to show"
    scale = environ.get("OLLAMA_SIM_TIME_SCALE") or TIME_SCALE
    yield Stage(
        said=f"{missing}: a simulated fleet ({PROFILE}, {scale} times as fast as life)",
        simulate=PROFILE,
        environ={"OLLAMA_SIM_TIME_SCALE": scale},
    )


def workload(stage: Stage, tags: Sequence[Row], seed: int) -> Workload | None:
    """The load for the models that are installed; None if there is none to ask.

    On real GPUs only the smallest model is asked: a demo is not the time to load all others. On
    simulated ones all are, the smallest least.
    """
    ours = [row for row in tags if not row.get("remote_model")]
    embedding = [row for row in ours if "bert" in _family(row)]
    chat = [row for row in ours if row not in embedding]
    chat.sort(key=lambda row: (-row.get("size", 0), row["name"]))
    if not chat:
        return None
    if not stage.simulate:
        return Workload(models=(chat[-1]["name"],), seed=seed)
    return Workload(
        models=tuple(row["name"] for row in chat),
        embedding_models=tuple(row["name"] for row in embedding),
        seed=seed,
    )


def _family(row: Row) -> str:
    details = row.get("details")
    return str(details.get("family", "")) if isinstance(details, dict) else ""


def _count_gpus() -> int:
    async def count() -> int:
        reader = GpuReader(sources(), time.monotonic)
        try:
            return len((await reader.inventory(_INVENTORY_TIMEOUT_S)).gpus)
        finally:
            reader.close()

    return asyncio.run(count())
