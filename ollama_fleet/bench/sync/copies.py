"""What the fleet takes for a copy from one file system to another, beside `cp` and `sha256sum`.

Both begin with the source in the page cache and nothing waiting to be written; they take turns, and
who is first changes from round to round. To `cp` belongs the sync without which a copy may be gone
with the power, as the fleet's never is. The hash is the faster one of `sha256sum` and OpenSSL's,
which uses what processors have for it where coreutils often does not.
"""

import asyncio
import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ollama_fleet.bench.sync.fleet import last_of
from ollama_fleet.bench.sync.registry import Made
from ollama_fleet.bench.sync.stage import Stage
from ollama_fleet.errors import FleetError


@dataclass(frozen=True, slots=True)
class Plain:
    """What plain programs took for one copy, in seconds, one after another."""

    cp_s: float
    sync_s: float
    sha256sum_s: float
    openssl_s: float

    @property
    def hash_s(self) -> float:
        """The faster hash."""
        return min(self.sha256sum_s, self.openssl_s)


@dataclass(slots=True)
class Copies:
    """All copies in one direction, of `size_bytes` each; `fleet_s` are the fleet's, in seconds."""

    source: Path
    target: Path
    size_bytes: int
    fleet_s: list[float] = field(default_factory=list)
    plain: list[Plain] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """The fleet's bytes per second."""
        return self.size_bytes / statistics.median(self.fleet_s)

    @property
    def ratio(self) -> float:
        """That as a part of the rate of `cp`, `sync` and the faster hash."""
        return self._ratio([p.cp_s + p.sync_s + p.hash_s for p in self.plain])

    @property
    def ratio_sha256sum(self) -> float:
        """That as a part of the rate of `cp` and `sha256sum`, a sync not counted."""
        return self._ratio([p.cp_s + p.sha256sum_s for p in self.plain])

    def __str__(self) -> str:
        return f"{self.source} to {self.target} {self.rate / 1e6:,.0f} MB/s, {self.ratio:.2f} of cp"

    def figures(self) -> dict[str, object]:
        """All times, and the ratios."""
        return {
            "from": str(self.source),
            "to": str(self.target),
            "fleet_s": [round(s, 3) for s in self.fleet_s],
            "plain": [{k: round(s, 3) for k, s in asdict(one).items()} for one in self.plain],
            "bytes_per_s": round(self.rate),
            "ratio": round(self.ratio, 3),
            "ratio_to_cp_and_sha256sum": round(self.ratio_sha256sum, 3),
        }

    def _ratio(self, plain_s: Sequence[float]) -> float:
        return statistics.median(plain_s) / statistics.median(self.fleet_s)


async def compared(on: Stage, made: Made, places: Sequence[Path], rounds: int) -> Sequence[Copies]:
    """Have the two instances of a stage get a model from one another, in turn; both directions.

    `places` are what their file systems are to be called. Raises FleetError where a copy fails.
    """
    await last_of(on.fleet.pull(made.name, to=["g0"]))
    there, back = (Copies(places[a], places[b], made.size_bytes) for a, b in ((0, 1), (1, 0)))
    for number in range(rounds):
        for copies, source, target in ((there, 0, 1), (back, 1, 0)):
            blob = _weights(on.stores[source], made)
            aside = on.stores[target].parent / "copy"
            if number % 2:
                copies.plain.append(await _by_programs(blob, aside))
            copies.fleet_s.append(await _by_fleet(on, made))
            if not number % 2:
                copies.plain.append(await _by_programs(blob, aside))
            if f"g{target}" not in await on.having(made):
                raise FleetError(f"g{target} was to get a copy and has none")
            await on.remove(made, f"g{source}")
    return there, back


def _weights(store: Path, made: Made) -> Path:
    """The largest blob."""
    digest = max(made.layers, key=made.layers.__getitem__)
    return store / "blobs" / digest.replace(":", "-")


async def _by_fleet(on: Stage, made: Made) -> float:
    await asyncio.to_thread(os.sync)
    began_s = time.perf_counter()
    last = await last_of(on.fleet.sync(made.name))
    took_s = time.perf_counter() - began_s
    if last.get("status") != "success":
        raise FleetError(f"a copy failed: {last}")
    return took_s


async def _by_programs(source: Path, target: Path) -> Plain:
    await asyncio.to_thread(os.sync)
    took = Plain(
        cp_s=await _run("cp", source, target),
        sync_s=await _run("sync", target),
        sha256sum_s=await _run("sha256sum", target),
        openssl_s=await _run(sys.executable, "-c", _HASH, target),
    )
    await asyncio.to_thread(target.unlink)
    return took


async def _run(*command: str | Path) -> float:
    """Run a program; how many seconds it took. Raises FleetError if it failed."""
    began_s = time.perf_counter()
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL)
    if await process.wait():
        raise FleetError(f"{' '.join(map(str, command))} failed")
    return time.perf_counter() - began_s


_HASH = "import hashlib, sys; hashlib.file_digest(open(sys.argv[1], 'rb'), 'sha256')"
