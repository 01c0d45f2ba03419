"""Eight callers of one model: one download, of which all see the progress until they leave."""

import asyncio
import json
import os
import re
import signal
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Final

from ollama_fleet.bench.sync.fleet import Record
from ollama_fleet.bench.sync.processes import until
from ollama_fleet.bench.sync.registry import Made
from ollama_fleet.bench.sync.row import Row
from ollama_fleet.bench.sync.stage import Setting, Stage, stage

CALLERS: Final = 8
_TARGET: Final = "1 download, all see progress; 7 leave: the 8th ends well; all leave: it stops"
_PATIENT: Final = {"OLLAMA_SIM_TIME_SCALE": "2"}  # a stalled link is borne for 15 seconds
_PERCENT: Final = re.compile(r"(\d+)%")
_STEPS: Final = 2  # counts that make a progress
_STILL_S: Final = 1.0  # without a byte: the download has stopped
_PART_BYTES: Final = 100_000_000  # of a blob, as Ollama asks for it: each in a request of its own
_ON_THE_WAY: Final = 1.05  # what the sockets hold when a download stops is sent once more
_SLOWER: Final = 40  # is the link when all leave, or the download is over before it is stopped


@dataclass(slots=True)
class Caller:
    """Somebody who pulls. `progress` are the different counts that it was told."""

    how: str
    task: asyncio.Task[None]
    progress: set[int] = field(default_factory=set)
    last: Record = field(default_factory=dict)

    async def has_seen_progress(self) -> bool:
        """Whether it was told of more than one step."""
        return len(self.progress) >= _STEPS

    @property
    def is_content(self) -> bool:
        """Whether it was told that all has gone well."""
        return self.last.get("status") == "success"

    async def leave(self) -> None:
        """Go away in the middle."""
        self.task.cancel()
        with suppress(asyncio.CancelledError):
            await self.task


async def callers(quick: bool) -> Row:  # noqa: FBT001 - the shape of a case
    """`fleet pull`, `ollama pull` and raw requests for one model at once."""
    return await callers_of(120_000_000 if quick else 400_000_000)


async def callers_of(size_bytes: int, *, link_s: float = 3.0, simulated: bool = False) -> Row:
    """The same with models of so many bytes, which the link carries in `link_s`."""
    async with stage(Setting(stores=2, simulated=simulated, environ=_PATIENT)) as on:
        bytes_per_s = size_bytes / link_s
        await on.registry.set(bytes_per_s=bytes_per_s)
        began_s = time.monotonic()
        made = [await on.registry.make(f"library/called:{n}", size_bytes, seed=n) for n in range(3)]
        together = await _together(on, made[0])
        one_left = await _one_left(on, made[1])
        none_left = await _none_left(on, made[2], bytes_per_s)
        faults = [*together.faults, *one_left.faults, *none_left.faults]
        sent = [together.sent_bytes, one_left.sent_bytes, none_left.sent_bytes]
        shares = [count / size_bytes for count in sent]
        return Row(
            case=f"{CALLERS} callers of one model: `fleet pull`, `ollama pull`, /api/pull",
            target=_TARGET,
            found=f"all stay: {shares[0]:.3f} x; 7 of 8 leave: {shares[1]:.3f} x; all leave, and "
            f"one comes back: {shares[2]:.3f} x in all; "
            + ("; ".join(faults) or "as it should be"),
            holds=not faults,
            registry_bytes=sum(sent),
            model_bytes=3 * made[0].size_bytes,
            seconds=round(time.monotonic() - began_s, 3),
            figures={"stopped_within_s": none_left.stopped_s, "real_ollama": on.program.real},
        )


@dataclass(frozen=True, slots=True)
class _Scene:
    """What came of one: bytes that the registry sent, and what was not as it should be."""

    sent_bytes: int
    faults: Sequence[str]
    stopped_s: float | None = None


async def _together(on: Stage, made: Made) -> _Scene:
    """All stay to the end."""
    before_bytes = await on.registry.bytes()
    pulling = await _under_way(on, made)
    await on.registry.fail()
    await asyncio.gather(*(one.task for one in pulling))
    sent_bytes = await on.registry.bytes() - before_bytes
    faults = [f"{one.how} saw no progress" for one in pulling if len(one.progress) < _STEPS]
    faults += [f"{one.how} ended with {one.last}" for one in pulling if not one.is_content]
    return _Scene(sent_bytes, [*faults, *await _once(on, made, sent_bytes)])


async def _one_left(on: Stage, made: Made) -> _Scene:
    """All but one leave in the middle."""
    before_bytes = await on.registry.bytes()
    *leaving, staying = await _under_way(on, made)
    await asyncio.gather(*(one.leave() for one in leaving))
    await on.registry.fail()
    await staying.task
    sent_bytes = await on.registry.bytes() - before_bytes
    faults = [] if staying.is_content else [f"who stayed ended with {staying.last}"]
    return _Scene(sent_bytes, [*faults, *await _once(on, made, sent_bytes)])


async def _none_left(on: Stage, made: Made, bytes_per_s: float) -> _Scene:
    """All leave, it stops; and somebody comes back, for whom it goes on."""
    before_bytes = await on.registry.bytes()
    *leaving, last = await _under_way(on, made)
    await asyncio.gather(*(one.leave() for one in leaving))
    await on.registry.set(bytes_per_s=bytes_per_s / _SLOWER)
    await on.registry.fail()
    await until(last.has_seen_progress, "the download goes on for the last")
    await last.leave()
    left_s = time.monotonic()
    still_bytes = await until(lambda: _stands_still(on), "the registry sends no more")
    stopped_s = time.monotonic() - left_s - _STILL_S
    await on.registry.set(bytes_per_s=bytes_per_s)
    faults = []
    if still_bytes - before_bytes >= made.size_bytes:
        faults.append("the download did not stop")
    if not any(store.glob("blobs/*-partial") for store in on.stores):
        faults.append("nothing was kept of it")
    await _begun("/api/pull", on.fleet.pull_over_http(made.name)).task
    sent_bytes = await on.registry.bytes() - before_bytes
    faults += await _once(on, made, sent_bytes, _ON_THE_WAY)
    return _Scene(sent_bytes, faults, round(stopped_s, 2))


async def _once(on: Stage, made: Made, sent_bytes: int, most: float = 1.0) -> list[str]:
    """What is wrong with a model that all should have after one download."""
    faults = [] if len(await on.having(made)) == len(on.stores) else ["not all have it"]
    if sent_bytes > most * made.size_bytes:
        faults.append(f"the registry sent {sent_bytes:,} bytes of {made.size_bytes:,}")
    return faults


async def _stands_still(on: Stage) -> int:
    """The registry's count if it does not change; 0 if it does."""
    before = await on.registry.bytes()
    await asyncio.sleep(_STILL_S)
    after = await on.registry.bytes()
    return after if after == before else 0


async def _under_way(on: Stage, made: Made) -> Sequence[Caller]:
    """Callers that all have been told how far it is; the link stalls until its faults are gone."""
    stall = {"kind": "stall", "path": "/bytes/"}
    some_bytes = min(made.size_bytes, _PART_BYTES) // 4
    await on.registry.fail({**stall, "after_bytes": some_bytes})
    pulling = _begin(on, made)

    async def all_are_in() -> bool:
        return all(one.progress for one in pulling)

    await until(all_are_in, "all callers have joined the download")
    return pulling


# -- the ways to call ------------------------------------------------------------------------------


def _begin(on: Stage, made: Made) -> Sequence[Caller]:
    """One after the other, without a pause: two commands of each kind, the rest over HTTP."""
    ways = {"fleet pull": _fleet_pull, "ollama pull": _ollama_pull}
    if not on.program.real:
        del ways["ollama pull"]  # the simulated one only serves
    pulling = [_begun(how, way(on, made)) for how, way in ways.items() for _ in range(2)]
    while len(pulling) < CALLERS:
        pulling.append(_begun("/api/pull", on.fleet.pull_over_http(made.name)))
    return pulling


def _begun(how: str, records: AsyncGenerator[Record, None]) -> Caller:
    async def follow() -> None:
        async with aclosing(records):
            async for record in records:
                caller.last = record
                if "target" not in record and "completed" in record:
                    caller.progress.add(record["completed"])

    caller = Caller(how, asyncio.create_task(follow()))
    return caller


async def _fleet_pull(on: Stage, made: Made) -> AsyncGenerator[Record, None]:
    """`fleet pull`, which prints records where there is no terminal."""
    process = await on.fleet.begin("pull", "--insecure", made.name)
    try:
        async for line in _stream(process.stdout):
            yield json.loads(line)
    finally:
        await _interrupted(process)


async def _ollama_pull(on: Stage, made: Made) -> AsyncGenerator[Record, None]:
    """`ollama pull` against the fleet: it draws bars, of which the percents are read."""
    process = await asyncio.create_subprocess_exec(
        on.program.path,
        "pull",
        "--insecure",
        made.name,
        env={**on.fleet.environ, "OLLAMA_HOST": on.fleet.url},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        while drawn := await _some(process.stderr):
            for percent in _PERCENT.findall(drawn):
                yield {"completed": int(percent)}
        yield {"status": "failed" if await process.wait() else "success"}
    finally:
        await _interrupted(process)


async def _stream(stream: asyncio.StreamReader | None) -> AsyncGenerator[bytes, None]:
    assert stream is not None, "it was asked for"
    async for line in stream:
        yield line


async def _some(stream: asyncio.StreamReader | None) -> str:
    assert stream is not None, "it was asked for"
    return (await stream.read(4096)).decode(errors="replace")


async def _interrupted(process: asyncio.subprocess.Process) -> None:
    """End a command as Ctrl-C does."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGINT)
    await process.wait()
