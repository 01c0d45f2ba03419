"""A client that drives a URL with a workload and checks every answer to its end."""

import asyncio
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import aiohttp
import msgspec

from ollama_fleet.bench.answers import BadAnswer, body_of, check_for, check_whole, reason_of
from ollama_fleet.bench.report import Report, Sample, report
from ollama_fleet.bench.workload import Call

INSTANCE_HEADER = "X-Fleet-Instance"


@dataclass(frozen=True, slots=True)
class Limit:
    """When no more is sent: after `seconds`, after `requests`, or at what comes first.

    What is under way then is waited for, each request at most `request_s` from its start.
    """

    seconds: float = math.inf
    requests: float = math.inf
    request_s: float = 300.0


async def keep_busy(
    base_url: str, calls: Iterator[Call], *, concurrency: int, limit: Limit, exact: bool
) -> Report:
    """Closed loop: `concurrency` clients, each sending its next request when an answer ends."""
    async with _client(base_url, limit) as session:
        samples: list[Sample] = []
        end_s = time.monotonic() + limit.seconds
        sent = 0

        async def client() -> None:
            nonlocal sent
            while sent < limit.requests and time.monotonic() < end_s:
                sent += 1
                samples.append(await send(session, next(calls), time.monotonic(), exact=exact))

        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(client())
    return report(samples)


async def send_on_time(
    base_url: str, calls: Iterator[Call], *, arrivals: Iterator[float], limit: Limit, exact: bool
) -> Report:
    """Open loop: requests at these seconds from now, whatever becomes of those before.

    Times count from when a request was due, so that a client that falls behind hides nothing.
    """
    async with _client(base_url, limit) as session, asyncio.TaskGroup() as group:
        tasks: list[asyncio.Task[Sample]] = []
        start_s = time.monotonic()
        for due_s in arrivals:
            if due_s >= limit.seconds or len(tasks) >= limit.requests:
                break
            await asyncio.sleep(start_s + due_s - time.monotonic())
            sending = send(session, next(calls), start_s + due_s, exact=exact)
            tasks.append(group.create_task(sending))
        await asyncio.gather(*tasks)
    return report([task.result() for task in tasks])


async def send(
    session: aiohttp.ClientSession, call: Call, start_s: float, *, exact: bool
) -> Sample:
    """Send one request, read its answer to the end, say what came of it. Never raises."""
    seen = _Seen()
    try:
        async with session.post(call.api.value, data=msgspec.json.encode(body_of(call))) as answer:
            seen.instance = answer.headers.get(INSTANCE_HEADER, "")
            tokens = await _read(answer, call, seen, exact=exact)
        error = ""
    except (BadAnswer, aiohttp.ClientError, TimeoutError, OSError) as failure:
        tokens, error = 0, _reason(failure)
    return Sample(
        latency_s=time.monotonic() - start_s,
        ttft_s=seen.first_s - start_s if seen.first_s is not None else None,
        output_tokens=tokens,
        instance=seen.instance,
        error=error,
    )


@dataclass
class _Seen:
    """What was seen of an answer before it ended, well or not."""

    instance: str = ""
    first_s: float | None = None


async def _read(answer: aiohttp.ClientResponse, call: Call, seen: _Seen, *, exact: bool) -> int:
    if answer.status != 200:
        raise BadAnswer(f"status {answer.status}: {reason_of(await answer.read())}")
    if not call.stream:
        return check_whole(call, await answer.read())
    check = check_for(call, exact=exact)
    rest = b""
    async for piece in answer.content.iter_any():
        if seen.first_s is None:
            seen.first_s = time.monotonic()
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            check.line(line)
    if rest:
        raise BadAnswer("the stream ended in the middle of a line")
    return check.end()


def _client(base_url: str, limit: Limit) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        base_url,
        headers={"Content-Type": "application/json"},
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=limit.request_s),
    )


def _reason(failure: Exception) -> str:
    if isinstance(failure, TimeoutError):
        return "no complete answer in time"
    if isinstance(failure, aiohttp.ClientConnectorError):
        return "no connection"
    if isinstance(failure, aiohttp.ClientPayloadError | aiohttp.ServerDisconnectedError):
        return "the answer was cut off"
    return str(failure) or type(failure).__name__
