"""The clients: each sends its next request when it is through with the last."""

import asyncio
import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import aiohttp

from ollama_fleet.bench.chaos.asks import (
    CHAT_MODELS,
    EMBEDDING_MODEL,
    EMBEDDINGS,
    MOST_TOKENS,
    PROMPTS,
    Ask,
    Manner,
    Route,
    body,
)
from ollama_fleet.bench.chaos.verdict import End, Judged, Seen, judge

DEADLINE_S: Final = 60.0  # longer than all of the fleet's own deadlines together
_SLOW_PAUSE_S: Final = 0.05
_NO_FLEET_PAUSE_S: Final = 0.5

Pieces = Mapping[tuple[str, str], list[str]]


@dataclass(frozen=True, slots=True)
class Expected:
    """What the instances say when nothing is wrong, learned from them.

    By model and prompt: an answer's tokens in order, or a vector as the only piece.
    """

    pieces: Pieces

    def text(self, ask: Ask) -> str:
        """The text of the whole answer to a request."""
        pieces = self.pieces[ask.model, ask.prompt]
        return pieces[0] if ask.route in EMBEDDINGS else "".join(pieces[: ask.tokens])


async def learn(session: aiohttp.ClientSession, instance_urls: Sequence[str]) -> Expected:
    """Ask the instances themselves for everything that may be asked. Raises aiohttp.ClientError."""
    generations = [
        Ask(0, Route.GENERATE, model, prompt, MOST_TOKENS, stream=True)
        for model in CHAT_MODELS
        for prompt in PROMPTS
    ]
    embeddings = [Ask(0, Route.EMBED, EMBEDDING_MODEL, p, 0, stream=False) for p in PROMPTS]
    asked = [*generations, *embeddings]
    urls = itertools.cycle(instance_urls)
    said = await asyncio.gather(*(_learn(session, url, ask) for url, ask in zip(urls, asked)))  # noqa: B905 - a cycle has no end
    return Expected({(ask.model, ask.prompt): s for ask, s in zip(asked, said, strict=True)})


async def _learn(session: aiohttp.ClientSession, instance_url: str, ask: Ask) -> list[str]:
    async with session.post(instance_url + ask.route.value, data=body(ask)) as answer:
        answer.raise_for_status()
        if not ask.stream:
            return [json.dumps((await answer.json())["embeddings"][0])]
        records = [json.loads(line) async for line in answer.content]
    return [record["response"] for record in records if not record["done"]]


async def keep_asking(
    url: str,
    asks: Iterator[Ask],
    expected: Expected,
    *,
    clients: int,
    until_s: float,
    heard: Callable[[Judged], None],
) -> None:
    """Ask until `until_s` of the monotonic clock, then wait for what is under way."""
    async with new_session() as session:

        async def client() -> None:
            while time.monotonic() < until_s:
                seen = await put(session, url, next(asks))
                heard(judge(seen, expected.text(seen.ask)))
                if seen.end is End.UNREACHED:
                    await asyncio.sleep(_NO_FLEET_PAUSE_S)

        async with asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(client())


def new_session() -> aiohttp.ClientSession:
    """A session without deadlines of its own."""
    return aiohttp.ClientSession(
        headers={"Content-Type": "application/json"},
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=None),
        auto_decompress=False,
    )


async def put(session: aiohttp.ClientSession, url: str, ask: Ask) -> Seen:
    """Send one request and read what comes of it. Never raises."""
    progress = _Progress()
    end = End.COMPLETE
    patience_s = ask.leaves_after_s if ask.manner is Manner.LEAVES else DEADLINE_S
    try:
        async with asyncio.timeout(patience_s):
            await _talk(session, url, ask, progress)
    except TimeoutError:
        end = End.LEFT if ask.manner is Manner.LEAVES else End.SILENT
    except aiohttp.ClientConnectorError:
        end = End.UNREACHED
    except (aiohttp.ClientError, OSError, ValueError):
        end = End.CUT
    return replace(progress.seen(ask), end=end)


@dataclass(slots=True)
class _Progress:
    """What has come so far."""

    status: int = 0
    body: bytes = b""
    first_s: float | None = None

    def seen(self, ask: Ask) -> Seen:
        return Seen(ask, End.COMPLETE, self.status, self.body, self.first_s)


async def _talk(session: aiohttp.ClientSession, url: str, ask: Ask, progress: _Progress) -> None:
    headers = {"X-Request-Id": ask.id}
    async with session.post(url + ask.route.value, data=body(ask), headers=headers) as answer:
        progress.status = answer.status
        async for piece in answer.content.iter_any():
            if progress.first_s is None:
                progress.first_s = time.monotonic()
            progress.body += piece
            if ask.manner is Manner.SLOW:
                await asyncio.sleep(_SLOW_PAUSE_S)
