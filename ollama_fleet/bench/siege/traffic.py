"""Those who ask while others besiege: a request at fixed times, and how long each took."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import aiohttp

_TIMEOUT_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Waited:
    """How long clients waited, in milliseconds, and how many got no answer."""

    requests: int
    failed: int
    p50_ms: float
    p99_ms: float


async def ask(url: str, body: bytes, *, per_s: float, seconds: float) -> Waited:
    """Ask at a steady rate, whatever becomes of the requests before."""
    took_s: list[float] = []
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    async with (
        aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
        asyncio.TaskGroup() as group,
    ):
        began_s, count = time.monotonic(), int(per_s * seconds)

        async def one(due_s: float) -> None:
            if await _is_answered(session, url, body):
                took_s.append(time.monotonic() - due_s)

        for number in range(count):
            due_s = began_s + number / per_s
            await asyncio.sleep(due_s - time.monotonic())
            group.create_task(one(due_s))
    return waited(took_s, count)


async def _is_answered(session: aiohttp.ClientSession, url: str, body: bytes) -> bool:
    try:
        async with session.post(url, data=body) as answer:
            await answer.read()
            return answer.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


def waited(took_s: Sequence[float], count: int) -> Waited:
    """Sum up `count` requests of which these were answered. Pure."""
    ordered = sorted(took_s)
    p50_ms, p99_ms = (
        round(1000 * ordered[int(q * len(ordered))], 2) if ordered else 0.0 for q in (0.5, 0.99)
    )
    return Waited(count, count - len(ordered), p50_ms, p99_ms)
