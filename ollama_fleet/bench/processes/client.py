"""The client of a run: open loop, a connection and a small protocol per request.

Requests leave at their times whatever becomes of those before; times count from when a request was
due, so that a client that falls behind hides nothing. How far it fell behind is told as well.
"""

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

_TAIL_BYTES: Final = 4096  # of an answer: its last record is in it
_LAST_CHUNK: Final = b"0\r\n\r\n"
_STATUS: Final = re.compile(rb"HTTP/1\.1 (\d{3})")
_INSTANCE: Final = re.compile(rb"\r\nx-fleet-instance: *([^\r]*)", re.IGNORECASE)
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_COUNT: Final = re.compile(rb'"eval_count": ?(\d+)')
_WHOLE: Final = (b'"done":true', b"data: [DONE]", b'"finish_reason":"')
_LINGER_S: Final = 0.5  # nobody hangs up at the last byte; the other side does
_PATIENCE_S: Final = 20.0  # to be let in


@dataclass(frozen=True, slots=True)
class Ask:
    """A request, when it is due (seconds from the start), and how many tokens are to come.

    `tokens` is None where nobody knows.
    """

    due_s: float
    request: bytes
    tokens: int | None = None


@dataclass(slots=True, eq=False)
class Answer:
    """What came of a request; seconds from the start. `error` is "" if all of it came.

    `sent_s` is when it left, `first_s` when the first byte of a body came.
    """

    due_s: float
    sent_s: float = 0.0
    first_s: float = 0.0
    ended_s: float = 0.0
    instance: str = ""
    error: str = ""


async def send_all(
    host: str, port: int, asked: Sequence[Ask], *, start_s: float, limit_s: float
) -> list[Answer]:
    """Send them from `start_s` on the loop's clock on; wait for the answers.

    `limit_s` after the last was due what has not ended is given up.
    """
    loop = asyncio.get_running_loop()
    tasks = []
    for ask in asked:
        wait_s = start_s + ask.due_s - loop.time()
        await asyncio.sleep(max(wait_s, 0.0))
        tasks.append(asyncio.create_task(_send(host, port, ask, start_s)))
    _, late = await asyncio.wait(tasks, timeout=limit_s)
    for task in late:
        task.cancel()
    return list(await asyncio.gather(*tasks))


async def _send(host: str, port: int, ask: Ask, start_s: float) -> Answer:
    """One request; never raises but when the study itself is stopped."""
    loop = asyncio.get_running_loop()

    def now_s() -> float:
        return loop.time() - start_s

    answer = Answer(ask.due_s)
    transport: asyncio.BaseTransport | None = None
    try:
        async with asyncio.timeout(_PATIENCE_S):
            transport, reader = await loop.create_connection(
                lambda: _Reader(answer, now_s, loop), host, port
            )
        answer.sent_s = now_s()
        transport.write(ask.request)
        await reader.over
        answer.error = reader.verdict(ask.tokens)
        await asyncio.wait((reader.closed,), timeout=_LINGER_S)
    except (OSError, TimeoutError) as failure:
        answer.error = str(failure) or "no connection in time"
    except asyncio.CancelledError:
        if not answer.ended_s:
            answer.error = "no answer in time"
    finally:
        answer.ended_s = answer.ended_s or now_s()
        if transport is not None:
            transport.close()
    return answer


class _Reader(asyncio.Protocol):
    """Reads one answer: what its head says, when its body began and ended, how it ended."""

    def __init__(
        self, answer: Answer, now_s: Callable[[], float], loop: asyncio.AbstractEventLoop
    ) -> None:
        self.over = loop.create_future()
        self.closed = loop.create_future()
        self._answer = answer
        self._now_s = now_s
        self._head = b""
        self._tail = b""
        self._left: int | None = None  # bytes of a body whose length is known
        self._status = 0
        self._whole = False

    def data_received(self, data: bytes) -> None:
        """Look at no more than the head, the end, and the clock."""
        if not self._status:
            self._head += data
            head, mark, data = self._head.partition(b"\r\n\r\n")
            if not mark:
                return
            self._read_head(head)
        if data:
            self._body(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """An answer that has not ended by then was cut."""
        self._end()
        self.closed.set_result(None)

    def verdict(self, tokens: int | None) -> str:
        """What is wrong with the answer; "" if nothing is."""
        if self._status != 200:
            return f"status {self._status}" if self._status else "no answer"
        if not self._whole:
            return "the answer was cut off"
        if not any(mark in self._tail for mark in _WHOLE):
            return "no final record"
        counts = _COUNT.findall(self._tail)
        if tokens is not None and counts and int(counts[-1]) != tokens:
            return f"{int(counts[-1])} tokens instead of {tokens}"
        return ""

    def _read_head(self, head: bytes) -> None:
        status, instance, length = (p.search(head) for p in (_STATUS, _INSTANCE, _LENGTH))
        self._status = int(status[1]) if status else 1
        self._answer.instance = instance[1].decode() if instance else ""
        self._left = int(length[1]) if length else None

    def _body(self, data: bytes) -> None:
        if not self._answer.first_s:
            self._answer.first_s = self._now_s()
        self._tail = data if len(data) >= _TAIL_BYTES else (self._tail + data)[-_TAIL_BYTES:]
        if self._left is None:
            self._whole = self._tail.endswith(_LAST_CHUNK)
        else:
            self._left -= len(data)
            self._whole = self._left <= 0
        if self._whole:
            self._end()

    def _end(self) -> None:
        if not self.over.done():
            self._answer.ended_s = self._now_s()
            self.over.set_result(None)
