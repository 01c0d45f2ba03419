"""The clients of the relay bench, a program: one workload against one proxy, every answer checked.

`python -m ollama_fleet.bench.relay.load WORKLOAD MOMENTS PORT…` takes the workload as JSON, and the
file in which the backend notes when it wrote what. It writes lines of JSON: a `Mark` when all
clients run, one in the middle of the window, one at its end, and a `Result` when the last answers
have come.
"""

import asyncio
import gc
import math
import random
import sys
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count, cycle, islice
from pathlib import Path

import msgspec
import uvloop

from ollama_fleet.bench.relay.checks import Head, Tally, Verdict, judge, read_head
from ollama_fleet.bench.relay.figures import quantile
from ollama_fleet.bench.relay.stamps import Moments, shared_moments, slot
from ollama_fleet.bench.relay.wire import LAST_CHUNK, RECORD, Asked, request
from ollama_fleet.bench.relay.workloads import Workload
from ollama_fleet.system.limits import raise_open_files

LAST_ANSWERS_S = 10.0
LEAST_TOKENS = 5
STARTING = 0.7  # of the ramp; in the rest of it what the starts have stirred up settles


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment of a run: answers and records that had come until then."""

    at_s: float
    answers: int
    records: int


@dataclass(frozen=True, slots=True)
class Result:
    """What a run came to. Times to first token are of answers begun in the window, if any were.

    `lag_*_ms` is how long records were on their way from the backend's write, of those that came in
    the window; None where answers are not streamed.
    """

    ttft_ms: tuple[float, ...]
    lag_p50_ms: float | None
    lag_p99_ms: float | None
    failed: int
    altered: int
    reasons: tuple[str, ...]


@dataclass
class Run:
    """What all clients of a run share."""

    workload: Workload
    moments: Moments
    clock: Callable[[], float] = time.monotonic
    steady_s: float = 0.0
    end_s: float = 0.0
    records: int = 0
    busy: int = 0
    quiet: asyncio.Event = field(default_factory=asyncio.Event)  # nobody waits for an answer
    tally: Tally = field(default_factory=Tally)
    ttfts: list[tuple[float, float]] = field(default_factory=list)  # when asked, how long it took
    lags_s: "array[float]" = field(default_factory=lambda: array("d"))  # in the order of coming
    numbers: Iterator[int] = field(default_factory=count)
    lengths: random.Random = field(default_factory=lambda: random.Random(0))  # noqa: S311 - a workload

    def next(self, *, first: bool) -> Asked | None:
        """What a client asks for now; None when it is too late."""
        workload, left_s = self.workload, self.end_s - self.clock()
        if left_s <= 0:
            return None
        tokens = workload.tokens
        if workload.per_s:
            if first:  # so that not all ask again in the same moment
                tokens = self.lengths.randint(LEAST_TOKENS, tokens)
            tokens = max(LEAST_TOKENS, min(tokens, math.ceil(left_s * workload.per_s) + 1))
        return Asked(next(self.numbers), tokens, workload.per_s, workload.stream)

    async def over(self) -> None:
        """Wait until nobody waits for an answer, nor has asked again in the very last moment."""
        while self.busy:
            await self.quiet.wait()

    def mark(self) -> Mark:
        """The state of things."""
        return Mark(self.clock(), self.tally.good, self.records)

    def result(self, lags_from: int, lags_to: int) -> Result:
        """What it came to; of the lags, those from one to another."""
        within = [ttft for asked_s, ttft in self.ttfts if asked_s >= self.steady_s]
        ttfts = within or [ttft for _, ttft in self.ttfts]
        lags_s = sorted(self.lags_s[lags_from:lags_to])
        tally = self.tally
        return Result(
            tuple(_ms(ttft) for ttft in ttfts),
            _ms(quantile(lags_s, 0.5)) if lags_s else None,
            _ms(quantile(lags_s, 0.99)) if lags_s else None,
            tally.failed,
            tally.altered,
            tuple(tally.reasons),
        )


class Client(asyncio.Protocol):
    """One client on one connection."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._transport: asyncio.Transport | None = None
        self._asked: Asked | None = None
        self._asked_s = 0.0
        self._first = True
        self._head: Head | None = None
        self._pieces: list[bytes] = []
        self._size = 0
        self._records = 0
        self._body_at = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport  # type: ignore[assignment]  # uvloop's is none of asyncio's

    def connection_lost(self, exc: Exception | None) -> None:
        """A connection that is lost in the middle of an answer is a failure; so is its client."""
        self._transport = None
        if self._asked is not None:
            self._settle(Verdict.FAILED, f"the connection was lost: {exc or 'closed'}")

    def ask(self) -> None:
        """Send the next request, unless the run is over."""
        if self._transport is None:
            self._run.tally.note(Verdict.FAILED, "the connection was closed between two answers")
            return
        self._asked = self._run.next(first=self._first)
        self._first = False
        if self._asked is None:
            self._transport.close()
            return
        self._run.busy += 1
        self._run.quiet.clear()
        self._head, self._pieces, self._size, self._records = None, [], 0, 0
        self._asked_s = self._run.clock()
        self._transport.write(request(self._asked))

    def data_received(self, data: bytes) -> None:
        """Collect the answer; check it when it has come whole."""
        now_s = self._run.clock()
        if not self._pieces:
            self._run.ttfts.append((self._asked_s, now_s - self._asked_s))
        self._pieces.append(data)
        self._size += len(data)
        self._count(data.count(RECORD), now_s)
        if self._head is None and not self._read_head():
            return
        if self._is_whole(data):
            self._check()

    def _count(self, records: int, now_s: float) -> None:
        run, asked = self._run, self._asked
        run.records += records
        if asked is not None and asked.stream:
            for at in range(self._records, self._records + records):
                run.lags_s.append(now_s - run.moments[slot(asked.number, at)])
            self._records += records

    def _read_head(self) -> bool:
        joined = b"".join(self._pieces)
        end = joined.find(b"\r\n\r\n")
        if end < 0:
            return False
        self._pieces, self._body_at = [joined], end + 4
        self._head = read_head(joined[:end])
        return True

    def _is_whole(self, data: bytes) -> bool:
        assert self._head is not None
        if self._head.length is not None:
            return self._size >= self._body_at + self._head.length
        if len(data) < len(LAST_CHUNK):
            data = b"".join(self._pieces[-len(LAST_CHUNK) :])
        return data.endswith(LAST_CHUNK)

    def _check(self) -> None:
        assert self._head is not None
        assert self._asked is not None
        body = b"".join(self._pieces)[self._body_at :]
        self._settle(*judge(self._asked, self._head, body))
        self.ask()

    def _settle(self, verdict: Verdict, reason: str) -> None:
        self._run.tally.note(verdict, reason)
        self._run.busy -= 1
        if not self._run.busy:
            self._run.quiet.set()
        self._asked = None


async def drive(workload: Workload, moments: Moments, ports: list[int]) -> Result:
    """Run a workload; the marks are written as they come."""
    run = Run(workload, moments)
    clients = await _connect(run, ports)
    start_s = run.clock()
    run.steady_s = start_s + workload.ramp_s
    run.end_s = run.steady_s + workload.window_s
    for at, client in enumerate(clients):
        await _sleep_until(start_s + STARTING * workload.ramp_s * at / len(clients))
        client.ask()
    lags = []
    for moment_s in (run.steady_s, run.steady_s + workload.window_s / 2, run.end_s):
        await _sleep_until(moment_s)
        lags.append(len(run.lags_s))
        _say(run.mark())
    with suppress(TimeoutError):
        async with asyncio.timeout(LAST_ANSWERS_S):
            await run.over()
    for _ in range(run.busy):
        run.tally.note(Verdict.FAILED, "the answer did not end in time")
    return run.result(lags[0], lags[-1])


async def _connect(run: Run, ports: list[int]) -> list[Client]:
    loop = asyncio.get_running_loop()
    clients: list[Client] = []
    for port in islice(cycle(ports), run.workload.connections):
        _, client = await loop.create_connection(lambda: Client(run), "127.0.0.1", port)
        clients.append(client)
    return clients


async def _sleep_until(moment_s: float) -> None:
    left_s = moment_s - time.monotonic()
    if left_s > 0:
        await asyncio.sleep(left_s)


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 4)


def _say(what: Mark | Result) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(what) + b"\n")
    sys.stdout.buffer.flush()


def main(workload: str, moments: str, *ports: str) -> None:
    """Run one workload and write what came of it."""
    raise_open_files()
    gc.disable()  # a run is short; a collection in it would look like a proxy's pause
    asked = msgspec.json.decode(workload, type=Workload)
    _say(uvloop.run(drive(asked, shared_moments(Path(moments)), [int(port) for port in ports])))


if __name__ == "__main__":
    main(*sys.argv[1:])
