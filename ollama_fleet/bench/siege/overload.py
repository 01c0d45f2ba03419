"""`scripts/soak overload`: three times as much as a simulated fleet can do, and a modest client."""

import argparse
import asyncio
import json
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp

from ollama_fleet.bench.processes.fleets import temporary

MODEL: Final = "llama3.1:8b"
CROWD, MODEST = "127.0.0.1", "127.0.0.2"  # two clients, by their addresses
TIMES: Final = 3.0
SLOTS: Final = 8  # of two instances, as they are shipped
QUEUE: Final = 64  # so that it is full in seconds
_SETTLED_S: Final = 5.0
_PAUSE_S: Final = 0.2  # of the modest client, between two requests
_BODY: Final = json.dumps(
    {"model": MODEL, "prompt": "hi", "stream": False, "options": {"num_predict": 60}}
).encode()


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: when it was over, how long it took, what it was answered (0 for nothing)."""

    ended_s: float
    took_s: float
    status: int


@dataclass(frozen=True, slots=True)
class Report:
    """What an overload has come to, each figure beside the one without it.

    Rejects are those of the crowd; the modest client's figures are the 95th percentiles.
    """

    capacity_per_s: float
    goodput_per_s: float
    goodput_share: float
    rejects: int
    reject_p50_ms: float
    reject_p95_ms: float
    others: int
    modest_alone_ms: float
    modest_among_ms: float
    modest_ratio: float
    modest_failed: int
    holds: bool


class Client:
    """Asks from one address."""

    def __init__(self, url: str, address: str) -> None:
        self._url = url
        connector = aiohttp.TCPConnector(limit=0, local_addr=(address, 0))
        self._session = aiohttp.ClientSession(connector=connector)

    async def ask(self) -> Asked:
        """Ask once. Never raises."""
        began_s = time.monotonic()
        try:
            async with self._session.post(self._url, data=_BODY) as answer:
                await answer.read()
                status = answer.status
        except (aiohttp.ClientError, TimeoutError):
            status = 0
        ended_s = time.monotonic()
        return Asked(ended_s, ended_s - began_s, status)

    async def close(self) -> None:
        """Let go of its connections."""
        await self._session.close()


async def one_by_one(client: Client, seconds: float) -> list[Asked]:
    """Ask modestly."""
    until_s, asked = time.monotonic() + seconds, []
    while time.monotonic() < until_s:
        asked.append(await client.ask())
        await asyncio.sleep(_PAUSE_S)
    return asked


async def as_many_at_once(client: Client, count: int, seconds: float) -> list[Asked]:
    """Keep so many requests under way."""

    async def one() -> list[Asked]:
        asked = []
        while time.monotonic() < until_s:
            asked.append(await client.ask())
        return asked

    until_s = time.monotonic() + seconds
    return [each for some in await asyncio.gather(*(one() for _ in range(count))) for each in some]


async def at_a_rate(client: Client, per_s: float, seconds: float) -> list[Asked]:
    """Ask at a steady rate, whatever becomes of the requests before; leave when the time is up."""
    began_s, tasks = time.monotonic(), []
    for number in range(int(per_s * seconds)):
        await asyncio.sleep(began_s + number / per_s - time.monotonic())
        tasks.append(asyncio.create_task(client.ask()))
    done, late = await asyncio.wait(tasks, timeout=0)
    for task in late:
        task.cancel()
    await asyncio.wait(late) if late else None
    return [task.result() for task in done]


async def overload(url: str, slots: int, seconds: float) -> Report:
    """Find out what the fleet can do, then ask for three times as much."""
    crowd, modest = Client(url, CROWD), Client(url, MODEST)
    try:
        await as_many_at_once(crowd, slots, 3.0)  # loaded, and known
        alone = await one_by_one(modest, seconds / 2)
        began_s = time.monotonic()
        full = await as_many_at_once(crowd, 2 * slots, seconds)
        capacity = _per_s(full, began_s, seconds)
        began_s = time.monotonic()
        asked, among = await asyncio.gather(
            at_a_rate(crowd, TIMES * capacity, seconds), one_by_one(modest, seconds)
        )
        goodput = _per_s([*asked, *among], began_s, seconds)
    finally:
        await crowd.close()
        await modest.close()
    return report(capacity, goodput, asked, (alone, among))


def _per_s(asked: Sequence[Asked], began_s: float, seconds: float) -> float:
    """Answers per second, once it had settled."""
    first_s, last_s = began_s + _SETTLED_S, began_s + seconds
    whole = sum(first_s <= each.ended_s <= last_s and each.status == 200 for each in asked)
    return whole / (seconds - _SETTLED_S)


def report(
    capacity: float,
    goodput: float,
    asked: Sequence[Asked],
    modest: tuple[Sequence[Asked], Sequence[Asked]],
) -> Report:
    """Judge. `modest` is what the modest client met alone, and among the others. Pure."""
    rejects_s = [each.took_s for each in asked if each.status == 503]
    alone_s, among_s = ([each.took_s for each in some if each.status == 200] for some in modest)
    failed = len(modest[1]) - len(among_s)
    share, ratio = goodput / capacity, _at(among_s, 0.95) / (_at(alone_s, 0.95) or 1.0)
    others = sum(each.status not in (200, 503) for each in asked)
    late = _at(rejects_s, 0.95) >= 0.05
    return Report(
        capacity_per_s=round(capacity, 2),
        goodput_per_s=round(goodput, 2),
        goodput_share=round(share, 3),
        rejects=len(rejects_s),
        reject_p50_ms=round(1000 * _at(rejects_s, 0.5), 1),
        reject_p95_ms=round(1000 * _at(rejects_s, 0.95), 1),
        others=others,
        modest_alone_ms=round(1000 * _at(alone_s, 0.95)),
        modest_among_ms=round(1000 * _at(among_s, 0.95)),
        modest_ratio=round(ratio, 2),
        modest_failed=failed,
        holds=share >= 0.95 and bool(rejects_s) and not late and ratio < 3 and not failed + others,
    )


def _at(values: Sequence[float], quantile: float) -> float:
    return sorted(values)[int(quantile * len(values))] if values else 0.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the command."""
    parser.add_argument("--seconds", type=float, default=30.0, help="of each part")


def run(options: argparse.Namespace) -> Report:
    """Run an overload."""
    document: dict[str, Any] = {"models": {MODEL: {"preload": True}}, "queue": {"limit": QUEUE}}
    with (
        tempfile.TemporaryDirectory(prefix="fleet-overload-") as folder,
        temporary(document, Path(folder), {}, os.environ, "2x24GB") as served,
    ):
        url = f"http://{served.host}:{served.port}/api/generate"
        return asyncio.run(overload(url, SLOTS, options.seconds))


def table(found: Report) -> str:
    """A report for people."""
    return "\n".join(f"{n.replace('_', ' '):20} {value}" for n, value in asdict(found).items())
