"""Clients that read one stream after another, and note what each of them saw."""

import asyncio
import json
import time
from collections.abc import Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

import aiohttp

from ollama_fleet.bench.faults.fleet import MODEL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TOKENS = 20


class End(Enum):
    """How an answer ended, by what its client can tell."""

    WHOLE = "whole"
    TOLD = "told"  # an error record, and a proper end
    CUT = "cut"  # the connection was lost: the client can see it
    REFUSED = "refused"  # an error of HTTP, before a byte of an answer
    SILENT = "silent"  # neither an end nor an error: taken for whole, and is not
    UNANSWERED = "unanswered"  # the connection was lost before a byte


@dataclass(slots=True)
class Seen:
    """One request. Moments are monotonic seconds; `sent_s` is when it was sent."""

    sent_s: float
    first_s: float | None = None
    last_s: float = 0.0  # of a token
    ended_s: float = 0.0
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    end: End = End.UNANSWERED

    @property
    def failed(self) -> bool:
        """It has failed before a byte came."""
        return self.end in (End.REFUSED, End.UNANSWERED)


async def ask(
    session: aiohttp.ClientSession, url: str, *, tokens: int = TOKENS, stream: bool = True
) -> Seen:
    """Send one request and read what comes of it. Never raises."""
    seen = Seen(time.monotonic())
    body = {"model": MODEL, "prompt": "go on", "stream": stream, "options": {"num_predict": tokens}}
    with suppress(aiohttp.ClientError, OSError):
        async with session.post(f"{url}/api/generate", json=body) as answer:
            seen.status, seen.headers = answer.status, dict(answer.headers)
            seen.end = End.CUT
            seen.end = await _read(answer, seen)
    seen.ended_s = time.monotonic()
    return seen


async def _read(answer: aiohttp.ClientResponse, seen: Seen) -> End:
    last: dict[str, Any] = {}
    async for line in answer.content:
        seen.first_s = seen.first_s or time.monotonic()
        last = _record(line)
        if "error" not in last:
            seen.last_s = time.monotonic()
    if answer.status != 200:
        return End.REFUSED
    if "error" in last:
        return End.TOLD
    return End.WHOLE if last.get("done") else End.SILENT


def _record(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def new_session() -> aiohttp.ClientSession:
    """A session without deadlines and limits of its own."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        timeout=aiohttp.ClientTimeout(total=None),
        read_bufsize=2**20,
    )


@dataclass(slots=True)
class Crowd:
    """So many clients, each sending its next request when its last has ended."""

    url: str
    seen: list[Seen] = field(default_factory=list)
    under_way: int = 0
    going_on: bool = True

    async def client(self, session: aiohttp.ClientSession) -> None:
        """One of them."""
        while self.going_on:
            self.under_way += 1
            self.seen.append(await ask(session, self.url))
            self.under_way -= 1

    def count(self, chosen: Callable[[Seen], bool]) -> int:
        """How many of what was seen are such."""
        return sum(map(chosen, self.seen))


@asynccontextmanager
async def crowd(url: str, clients: int, *, warm_s: float) -> "AsyncIterator[Crowd]":
    """Clients that have been at it for a while; on leaving each finishes what it does."""
    there = Crowd(url)
    async with new_session() as session, asyncio.TaskGroup() as group:
        for _ in range(clients):
            group.create_task(there.client(session))
        await asyncio.sleep(warm_s)
        there.seen.clear()
        try:
            yield there
        finally:
            there.going_on = False
