"""The eighth case: what people who ask the models notice of a sync.

Streams are asked for at a constant rate, and times count from when each was due. Stretches without
a sync and with one take turns, and the first and the last are without: so each stretch with one is
compared with its two neighbours, and what neighbours without differ by tells how much of that is
the machine's own: one that is busy with other things can make a verdict impossible.

The instance that downloads serves nobody: a simulated Ollama is one thread, and would answer late
where a real one does not.
"""

import asyncio
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise, repeat
from typing import Any, Final

from ollama_fleet.bench import load
from ollama_fleet.bench.report import Report
from ollama_fleet.bench.sync.disks import file_systems
from ollama_fleet.bench.sync.fleet import last_of
from ollama_fleet.bench.sync.registry import Made
from ollama_fleet.bench.sync.row import Row
from ollama_fleet.bench.sync.stage import Setting, Stage, stage
from ollama_fleet.bench.workload import Api, Call, constant
from ollama_fleet.errors import FleetError

_CHANGE: Final = 0.1
_STORES: Final = 4
_SLOTS: Final = 16
_OUTPUT_TOKENS: Final = 50
_TOKEN_S: Final = 0.02
_CALL: Final = Call(Api.CHAT, "tiny", "why is the sky blue?", _OUTPUT_TOKENS, stream=True)
_PROFILE: Final[Mapping[str, Any]] = {
    "description": "a steady server without GPUs",
    "cpu": {
        "slots": _SLOTS,
        "prefill_tokens_per_s": 10_000,
        "decode_base_s": _TOKEN_S,
        "decode_per_busy_s": 0.0,
        "load_bytes_per_s": "1GB",
    },
    "models": [
        {
            "name": _CALL.model,
            "size": "1MB",
            "parameter_size": "453K",
            "quantization": "F16",
            "family": "llama",
        }
    ],
    "installed": [_CALL.model],
    "outputs": {"median_tokens": 10 * _OUTPUT_TOKENS, "sigma": 0.1},
}
_FLEET: Final[Mapping[str, Any]] = {
    "defaults": {"num_parallel": _SLOTS, "keep_alive": -1},
    "models": {
        _CALL.model: {"groups": [f"g{n}" for n in range(1, _STORES)], "preload": True},
    },
}


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is pulled by what line, how much is asked meanwhile, and how often."""

    size_bytes: int
    link_bytes_per_s: float
    rate_per_s: float
    stretch_s: float
    repetitions: int


@dataclass(frozen=True, slots=True)
class Stretch:
    """What came of the requests of one stretch, times in milliseconds. `sync_s` is 0 without."""

    requests: int
    errors: int
    p50_ms: float
    p99_ms: float
    ttft_p99_ms: float
    sync_s: float = 0.0


async def traffic_during_sync(quick: bool) -> Row:  # noqa: FBT001 - the shape of a case
    """Streams while a model is downloaded and spread, beside streams while none is."""
    if quick:
        return await on_traffic(Scale(64_000_000, 20e6, 20.0, 4.0, 2))
    return await on_traffic(Scale(1_000_000_000, 150e6, 25.0, 10.0, 8))


async def on_traffic(scale: Scale) -> Row:
    """The eighth case at a scale."""
    setting = Setting(
        stores=_STORES,
        places=file_systems(4 * scale.size_bytes)[:2],
        more=_FLEET,
        environ={"OLLAMA_SIM_TIME_SCALE": "1"},
        profile=_PROFILE,
    )
    async with stage(setting) as on:
        made = await on.registry.make("library/big:1", scale.size_bytes)
        await on.registry.set(bytes_per_s=scale.link_bytes_per_s)
        await _stretch(on, scale)  # the first fills caches
        without, syncing = [await _stretch(on, scale)], []
        for _ in range(scale.repetitions):
            syncing.append(await _syncing(on, made, scale))
            without.append(await _stretch(on, scale))
        sent_bytes = await on.registry.bytes()
    return _row(scale, made, without, syncing, sent_bytes, len(setting.places))


async def _syncing(on: Stage, made: Made, scale: Scale) -> Stretch:
    """A stretch as long as a sync. Raises FleetError where that fails."""
    over, loop = asyncio.Event(), asyncio.get_running_loop()

    async def pull() -> float:
        began_s = loop.time()
        last = await last_of(on.fleet.pull(made.name))
        over.set()
        if last.get("status") != "success":
            raise FleetError(f"the pull failed: {last}")
        return loop.time() - began_s

    async with asyncio.TaskGroup() as group:
        pulling = group.create_task(pull())
        asked = group.create_task(_asked(on, _until(over, scale.rate_per_s), load.Limit()))
    for number in range(_STORES):
        await on.remove(made, f"g{number}")
    return _summed(asked.result(), pulling.result())


async def _stretch(on: Stage, scale: Scale) -> Stretch:
    limit = load.Limit(seconds=scale.stretch_s)
    return _summed(await _asked(on, constant(scale.rate_per_s), limit), 0.0)


async def _asked(on: Stage, arrivals: Iterator[float], limit: load.Limit) -> Report:
    return await load.send_on_time(
        on.fleet.url, repeat(_CALL), arrivals=arrivals, limit=limit, exact=True
    )


def _until(over: asyncio.Event, rate_per_s: float) -> Iterator[float]:
    """Arrivals at equal distances, until an event."""
    for at_s in constant(rate_per_s):
        if over.is_set():
            return
        yield at_s


def _summed(report: Report, sync_s: float) -> Stretch:
    return Stretch(
        requests=report.requests,
        errors=report.errors,
        p50_ms=report.latency_ms.p50 or 0.0,
        p99_ms=report.latency_ms.p99 or 0.0,
        ttft_p99_ms=report.ttft_ms.p99 or 0.0,
        sync_s=round(sync_s, 3),
    )


def _row(  # noqa: PLR0917 - the parts of one measurement
    scale: Scale,
    made: Made,
    without: Sequence[Stretch],
    syncing: Sequence[Stretch],
    sent_bytes: int,
    disks: int,
) -> Row:
    change, noise = changes([s.p99_ms for s in without], [s.p99_ms for s in syncing])
    ttft_change, ttft_noise = changes(
        [s.ttft_p99_ms for s in without], [s.ttft_p99_ms for s in syncing]
    )
    errors = sum(stretch.errors for stretch in (*without, *syncing))
    middle = statistics.median
    return Row(
        case=f"traffic during a sync: {scale.rate_per_s:g} streams/s of "
        f"{_OUTPUT_TOKENS * _TOKEN_S:g} s, {scale.size_bytes / 1e9:g} GB",
        target="p99 of inference through the router changes < 10 %",
        found=f"p99 {middle(s.p99_ms for s in without):,.0f} ms without, "
        f"{middle(s.p99_ms for s in syncing):,.0f} ms with: {change:+.1%} "
        f"(stretches without among themselves: {noise:.1%}); {errors} failed",
        holds=False if errors else judged(change, noise),
        registry_bytes=sent_bytes,
        model_bytes=made.size_bytes,
        seconds=round(middle(s.sync_s for s in syncing), 3),
        figures={
            "p99_change": round(change, 4),
            "p99_noise": round(noise, 4),
            "ttft_p99_change": round(ttft_change, 4),
            "ttft_p99_noise": round(ttft_noise, 4),
            "file_systems": disks,
            "scale": asdict(scale),
            "without": [asdict(stretch) for stretch in without],
            "syncing": [asdict(stretch) for stretch in syncing],
        },
    )


def changes(without: Sequence[float], syncing: Sequence[float]) -> tuple[float, float]:
    """By which part a figure is more in the stretches with a sync; and by which it varies anyhow.

    `without` has one more: each of `syncing` stands between two of them. Medians of all pairs.
    """
    means = [statistics.fmean(pair) for pair in pairwise(without)]
    change = statistics.median(s / mean - 1 for s, mean in zip(syncing, means, strict=True))
    noise = statistics.median(abs(b / a - 1) for a, b in pairwise(without))
    return change, noise


def judged(change: float, noise: float) -> bool | None:
    """Whether a change keeps to the target; None where the machine's noise could be either."""
    if noise < _CHANGE:
        return change < _CHANGE
    return False if change >= _CHANGE + noise else None
