"""Clients that leave: how soon the instance hears of it, and whether every place is given back.

The instances are scripts in this process and the fleet is another one, as shipped, so that both
ends of a departure are read from one clock. More streams are asked for than there are slots: some
clients leave while they wait in the router, some before the first token, some in mid-stream.
"""

import asyncio
import json
import os
import random
import re
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ollama_fleet.bench.ports import free_port

TARGET_MS = 100.0
INSTANCES, SLOTS = 2, 25
PREFILL_S, TOKEN_S, STAY_S = 0.3, 0.01, 2.0  # the longest wait, the pace, the longest stay
SETTLE_S = 20.0  # for the last lease to come back; how soon each does is measured apart
_START_S = 60.0
_LINE = b'{"model":"m","message":{"role":"assistant","content":" a"},"done":false}\n'
_TOKEN = b"%x\r\n%b\r\n" % (len(_LINE), _LINE)
_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
)
_ROW = {"name": "m:latest", "model": "m:latest", "digest": "d", "size": 1, "details": {}}
_LOCAL: Mapping[bytes, object] = {
    b"/api/version": {"version": "0.20.0"},
    b"/api/tags": {"models": [_ROW]},
    b"/api/ps": {"models": [_ROW | {"size_vram": 1, "expires_at": "2318-01-01T00:00:00Z"}]},
}
_NUMBER = re.compile(rb'"number":(\d+)')
_FLEET = """
listen: 127.0.0.1:{port}
groups: []
instances:
{instances}
routing: {{ strategy: least_conn }}
"""


@dataclass(frozen=True, slots=True)
class Report:
    """What a run has found. It holds if all were heard of in time and nothing is held still."""

    streams: int
    reached_an_instance: int
    left_while_waiting: int
    left_before_a_token: int
    heard_p50_ms: float
    heard_p99_ms: float
    heard_max_ms: float
    never_heard: int
    came_after_leaving: int
    leases_left: int
    holds: bool


@dataclass
class Departures:
    """When, by one clock in seconds, each request arrived, its client left, its instance heard."""

    arrived_s: dict[int, float] = field(default_factory=dict)
    first_token: set[int] = field(default_factory=set)
    left_s: dict[int, float] = field(default_factory=dict)
    heard_s: dict[int, float] = field(default_factory=dict)


class Instances:
    """Scripted Ollamas that never finish a stream, and note who comes and goes."""

    def __init__(self, departures: Departures, rng: random.Random) -> None:
        self._departures, self._rng = departures, rng

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer on one connection until it is closed."""
        streaming: asyncio.Task[None] | None = None
        number = -1
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"(?i)content-length: (\d+)", head)
                body = await reader.readexactly(int(length[1]) if length else 0)
                known = _LOCAL.get(head.split(b" ", 2)[1], {})
                if b"X-Request-Id:" in head:  # a client's, not the fleet's own
                    number = _number(body)
                    self._departures.arrived_s[number] = time.monotonic()
                    streaming = asyncio.create_task(self._stream(writer))
                else:
                    answer = json.dumps(known).encode()
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer))
                    writer.write(answer)
        if streaming is not None:
            self._departures.heard_s[number] = time.monotonic()
            streaming.cancel()
        writer.close()

    async def _stream(self, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(self._rng.uniform(0, PREFILL_S))
        writer.write(_HEAD)
        while not writer.is_closing():
            writer.write(_TOKEN)
            await asyncio.sleep(TOKEN_S)


async def leave(number: int, port: int, stay_s: float, departures: Departures) -> None:
    """Ask for a stream, read it for a while, and go."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = b'{"model":"m","number":%d,"messages":[{"role":"user","content":"x"}]}' % number
    head = b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n"
    writer.write(head % len(body) + body)
    with suppress(TimeoutError):
        async with asyncio.timeout(stay_s):
            while await reader.read(65536):
                departures.first_token.add(number)
    departures.left_s[number] = time.monotonic()
    writer.close()


async def cancel_streams(streams: int, seed: int, longest_s: float = STAY_S) -> Report:
    """Let that many clients come, and go within `longest_s`; compare what both ends noted."""
    rng, departures = random.Random(seed), Departures()  # noqa: S311 - a reproducible load
    instances = Instances(departures, rng)
    servers = [
        await asyncio.start_server(instances.serve, "127.0.0.1", 0) for _ in range(INSTANCES)
    ]
    ports = [server.sockets[0].getsockname()[1] for server in servers]
    try:
        async with fleet_over(ports) as (port, socket_path):
            stays = [rng.uniform(0.0, longest_s) for _ in range(streams)]
            await asyncio.gather(
                *(leave(n, port, stay_s, departures) for n, stay_s in enumerate(stays))
            )
            leases_left = await settled(socket_path)
            await all_heard(departures)
    finally:
        for server in servers:
            server.close()
    return report(departures, leases_left)


def report(departures: Departures, leases_left: int) -> Report:
    """What was noted, in figures. Nearest-rank percentiles."""
    left, arrived = departures.left_s, departures.arrived_s
    late_s = TARGET_MS / 1000
    after = sum(1 for number, at_s in arrived.items() if at_s > left[number] + late_s)
    heard_ms = sorted(
        max(0.0, (at_s - left[number]) * 1000) for number, at_s in departures.heard_s.items()
    )
    never = len(arrived) - len(heard_ms)
    worst = heard_ms[-1] if heard_ms else 0.0
    return Report(
        streams=len(left),
        reached_an_instance=len(arrived),
        left_while_waiting=len(left) - len(arrived),
        left_before_a_token=len(set(arrived) - departures.first_token),
        heard_p50_ms=round(_rank(heard_ms, 0.5), 2),
        heard_p99_ms=round(_rank(heard_ms, 0.99), 2),
        heard_max_ms=round(worst, 2),
        never_heard=never,
        came_after_leaving=after,
        leases_left=leases_left,
        holds=never == leases_left == after == 0 and worst <= TARGET_MS and bool(arrived),
    )


@asynccontextmanager
async def fleet_over(ports: list[int]) -> AsyncIterator[tuple[int, Path]]:
    """A fleet of external instances in a process of its own; its port and its control socket."""
    with tempfile.TemporaryDirectory(prefix="fleet-soak-") as name:
        folder, port = Path(name), free_port()
        rows = "\n".join(
            f'  - {{ name: i{at}, url: "http://127.0.0.1:{p}", slots: {SLOTS} }}'
            for at, p in enumerate(ports)
        )
        (folder / "fleet.yaml").write_text(_FLEET.format(port=port, instances=rows))
        kept = {k: v for k, v in os.environ.items() if not k.startswith("FLEET_")}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "ollama_fleet", "up", "--no-tui"),
            *("-c", str(folder / "fleet.yaml")),
            env=kept | {"FLEET_STATE_DIR": str(folder / "state"), "XDG_RUNTIME_DIR": name},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            yield port, await _socket(folder)
        finally:
            process.terminate()
            await process.wait()


async def _socket(folder: Path) -> Path:
    """The control socket, once every instance is ready. Raises TimeoutError."""
    async with asyncio.timeout(_START_S):
        while True:
            for path in folder.rglob("*.sock"):  # noqa: ASYNC240 - a handful of files
                with suppress(OSError):
                    status = await ask(path)
                    if all(row["health"] == "healthy" for row in status["instances"]):
                        return path
            await asyncio.sleep(0.05)


async def settled(socket_path: Path) -> int:
    """Requests in flight or waiting when all have left; more than 0 only if it stays so."""
    until_s = time.monotonic() + SETTLE_S
    while True:
        status = await ask(socket_path)
        held = status["waiting"] + sum(row["in_flight"] for row in status["instances"])
        if not held or time.monotonic() > until_s:
            return int(held)
        await asyncio.sleep(0.05)


async def all_heard(departures: Departures) -> None:
    """Wait until the instances have heard of every departure, but no longer than for a lease."""
    until_s = time.monotonic() + SETTLE_S
    while time.monotonic() < until_s:
        if departures.heard_s.keys() >= departures.arrived_s.keys():
            return
        await asyncio.sleep(0.05)


async def ask(socket_path: Path) -> dict[str, Any]:
    """The fleet's snapshot."""
    reader, writer = await asyncio.open_unix_connection(str(socket_path))
    writer.write(b"GET /v1/status HTTP/1.1\r\nHost: fleet\r\nConnection: close\r\n\r\n")
    _, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return dict(json.loads(body))


def _number(body: bytes) -> int:
    found = _NUMBER.search(body)
    assert found is not None
    return int(found[1])


def _rank(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
