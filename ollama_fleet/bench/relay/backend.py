"""The backend of the relay bench: `python -m ollama_fleet.bench.relay.backend MOMENTS PORT…`.

A program that speaks as much of Ollama as a router asks for, writes one record per token and write,
and notes in the file MOMENTS when it did.
"""

import asyncio
import heapq
import json
import re
import sys
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import uvloop

from ollama_fleet.bench.relay.stamps import Moments, shared_moments, slot
from ollama_fleet.bench.relay.wire import (
    LAST_CHUNK,
    MODEL,
    Asked,
    answer_body,
    chunk,
    final_record,
    read_request,
    token_record,
)
from ollama_fleet.system.limits import raise_open_files

TICK_S = 0.001  # tokens that are due within one tick leave together, as those of a GPU's batch do

_STREAM = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n"
    b"Date: Sun, 01 Nov 2026 00:00:00 GMT\r\nTransfer-Encoding: chunked\r\n\r\n"
)
_WHOLE = (
    b"HTTP/1.1 %d OK\r\nContent-Type: application/json; charset=utf-8\r\n"
    b"Date: Sun, 01 Nov 2026 00:00:00 GMT\r\nContent-Length: %d\r\n\r\n%s"
)
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_ROW = {
    "name": MODEL,
    "model": MODEL,
    "modified_at": "2026-11-01T00:00:00Z",
    "size": 1,
    "size_vram": 1,
    "digest": "0" * 64,
    "expires_at": "2099-01-01T00:00:00Z",
    "details": {},
}
_METADATA = {
    b"/api/version": {"version": "0.12.0"},
    b"/api/tags": {"models": [_ROW]},
    b"/api/ps": {"models": [_ROW]},
}


class Pacer:
    """Calls many streams, each at its own times, from one timer."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._due: list[tuple[float, int, Callable[[], bool], float]] = []
        self._numbers = count()
        self._ticking = False

    def call_every(self, interval_s: float, step: Callable[[], bool]) -> None:
        """Call `step` every `interval_s` from now until it returns False."""
        due_s = self._loop.time() + interval_s
        heapq.heappush(self._due, (due_s, next(self._numbers), step, interval_s))
        if not self._ticking:
            self._ticking = True
            self._loop.call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        now_s = self._loop.time()
        while self._due and self._due[0][0] <= now_s:
            due_s, number, step, interval_s = self._due[0]
            if step():
                heapq.heapreplace(self._due, (due_s + interval_s, number, step, interval_s))
            else:
                heapq.heappop(self._due)
        self._ticking = bool(self._due)
        if self._ticking:
            self._loop.call_later(TICK_S, self._tick)


class Connection(asyncio.Protocol):
    """One connection: a request, its answer, the next request.

    `moments` is where the time of each record is noted, `clock` gives monotonic seconds.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        pacer: Pacer,
        moments: Moments,
        clock: Callable[[], float],
    ) -> None:
        self._loop = loop
        self._pacer = pacer
        self._moments = moments
        self._clock = clock
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._asked: Asked | None = None
        self._sent = 0
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport  # type: ignore[assignment]  # uvloop's is none of asyncio's

    def connection_lost(self, exc: Exception | None) -> None:
        """End the answer: nobody reads it."""
        del exc
        self._transport = None

    def pause_writing(self) -> None:
        """The reader does not keep up."""
        self._paused = True

    def resume_writing(self) -> None:
        """It does again: an answer without pauses goes on."""
        self._paused = False
        if self._asked is not None and not self._asked.per_s:
            self._loop.call_soon(self._hurry)

    def data_received(self, data: bytes) -> None:
        """Collect a request, then answer it."""
        self._buffer += data
        head_end = self._buffer.find(b"\r\n\r\n") + 4
        if head_end < 4:
            return
        length = _LENGTH.search(self._buffer, 0, head_end)
        end = head_end + (int(length[1]) if length else 0)
        if len(self._buffer) < end:
            return
        path = self._buffer[: self._buffer.index(b" HTTP/")].partition(b" ")[2]
        body, self._buffer = self._buffer[head_end:end], self._buffer[end:]
        self._answer(path, body)

    def _answer(self, path: bytes, body: bytes) -> None:
        assert self._transport is not None
        if path != b"/api/chat":
            found = _METADATA.get(path)
            answer = json.dumps(found or {"error": "not found"}).encode()
            self._transport.write(_WHOLE % (200 if found else 404, len(answer), answer))
            return
        asked = read_request(body)
        if not asked.stream:
            answer = answer_body(asked)
            self._transport.write(_WHOLE % (200, len(answer), answer))
            return
        self._asked, self._sent = asked, 0
        self._write(asked, _STREAM + chunk(token_record(asked.number, 0)))
        if asked.per_s:
            self._pacer.call_every(1 / asked.per_s, self._step)
        else:
            self._loop.call_soon(self._hurry)

    def _hurry(self) -> None:
        """One token per turn of the loop, which makes it one write per token."""
        if not self._paused and self._step():
            self._loop.call_soon(self._hurry)

    def _step(self) -> bool:
        """Write the next record; whether there is another."""
        asked = self._asked
        if self._transport is None or asked is None:
            return False
        if self._sent < asked.tokens:
            self._write(asked, chunk(token_record(asked.number, self._sent)))
            return True
        self._asked = None
        self._write(asked, chunk(final_record(asked)) + LAST_CHUNK)
        return False

    def _write(self, asked: Asked, record: bytes) -> None:
        assert self._transport is not None
        self._moments[slot(asked.number, self._sent)] = self._clock()
        self._sent += 1
        self._transport.write(record)


async def serve(moments: Moments, ports: list[int]) -> None:
    """Listen on all ports until the process is ended."""
    loop = asyncio.get_running_loop()
    pacer = Pacer(loop)

    def connection() -> Connection:
        return Connection(loop, pacer, moments, time.monotonic)

    for port in ports:
        await loop.create_server(connection, "127.0.0.1", port, backlog=4096)
    await asyncio.Event().wait()


if __name__ == "__main__":
    raise_open_files()
    uvloop.run(serve(shared_moments(Path(sys.argv[1])), [int(port) for port in sys.argv[2:]]))
