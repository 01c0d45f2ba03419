"""SIGKILL at random moments: of the fleet, of an instance that gets a model, of the one that pulls.

Each trial has a model of its own. It is pulled, somebody is killed, and at once and again when who
was killed is back every model that a store lists must be whole. Then it is pulled once more: what
the registry sends beyond one model is what the kill has cost.

Half of the moments are drawn from the download, half from the time in which the model is brought to
the other stores, of which one is on another disk, so that there is something to interrupt.
"""

import asyncio
import os
import random
import signal
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import aiohttp

from ollama_fleet.bench.sync.fleet import Record
from ollama_fleet.bench.sync.processes import until
from ollama_fleet.bench.sync.registry import Made
from ollama_fleet.bench.sync.row import Row
from ollama_fleet.bench.sync.stage import Setting, Stage, stage
from ollama_fleet.bench.sync.whole import Inspector

_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a second file system, which is never slow
_SPREAD_S: Final = 0.5  # about what a copy takes; a moment behind its end is one, too
_MOST: Final = 0.1  # of the models may be sent twice
_AT_ONCE: Final = {
    "supervision": {"backoff_first": "0.2s", "backoff_max": "0.2s", "start_limit": 1000}
}  # who is killed is back soon, however often
_PULLER, _TARGETS = "g0", ("g1", "g2")
_ANSWERED: Final = 200


@dataclass(frozen=True, slots=True)
class Moment:
    """When to kill: so long after the pull has begun, or after the first target is served."""

    spreading: bool
    after_s: float


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of one kill. `twice_bytes` went out of the registry beyond one model.

    `in_the_middle`: the pull was not over yet.
    """

    twice_bytes: int
    in_the_middle: bool
    faults: Sequence[str] = ()


Back = Callable[[], Awaitable[None]]
"""Returns when who was killed is up again."""


@dataclass(frozen=True, slots=True)
class Victim:
    """Who is killed, always during the download if `only_downloading`."""

    whom: str
    kill: Callable[[Stage, random.Random], Awaitable[Back]]
    only_downloading: bool = False


@dataclass(frozen=True, slots=True)
class Kills:
    """How much to do: so many kills, with models of so many bytes that come in `link_s`."""

    count: int
    size_bytes: int
    link_s: float = 2.0
    simulated: bool = False
    seed: int = 6


async def fleet_killed(quick: bool) -> Row:  # noqa: FBT001 - the shape of a case
    """The fleet is killed, and started again."""
    return await killed([FLEET], _many(quick=quick))


async def target_killed(quick: bool) -> Row:  # noqa: FBT001
    """An instance whose store gets the model is killed; the fleet starts it again."""
    return await killed([TARGET], _many(quick=quick))


async def puller_killed(quick: bool) -> Row:  # noqa: FBT001
    """The instance that downloads is killed; the fleet starts it again."""
    return await killed([PULLER], _many(quick=quick))


def _many(*, quick: bool) -> Kills:
    return Kills(3, 130_000_000) if quick else Kills(20, 330_000_000)


async def killed(victims: Sequence[Victim], kills: Kills) -> Row:
    """Victims in turn, on one stage, until there have been enough."""
    rng = random.Random(kills.seed)  # noqa: S311 - moments, no secrets
    began_s = time.monotonic()
    trials = []
    with tempfile.TemporaryDirectory(prefix="fleet-bench-") as near:
        places = (Path(near), _MEMORY if _MEMORY.is_dir() else Path(near), Path(near))
        setting = Setting(stores=3, places=places, simulated=kills.simulated, more=_AT_ONCE)
        async with stage(setting) as on:
            await on.registry.set(bytes_per_s=kills.size_bytes / kills.link_s)
            for number in range(kills.count):
                victim = victims[number % len(victims)]
                name = f"library/killed:{number}"
                made = await on.registry.make(name, kills.size_bytes, seed=number, runs=True)
                moment = _drawn(rng, victim, number, kills.link_s)
                trials.append(await _trial(on, made, moment, partial(victim.kill, on, rng)))
                await on.fleet.run("rm", "--force", made.name)
    whom = " and of ".join(victim.whom for victim in victims)
    return _summed(whom, kills, trials, time.monotonic() - began_s, real=on.program.real)


def _drawn(rng: random.Random, victim: Victim, number: int, link_s: float) -> Moment:
    spreading = bool(number % 2) and not victim.only_downloading
    return Moment(spreading, rng.uniform(0, _SPREAD_S if spreading else link_s))


def _summed(whom: str, kills: Kills, trials: Sequence[Trial], took_s: float, *, real: bool) -> Row:
    faults = [fault for trial in trials for fault in trial.faults]
    twice_bytes = sum(trial.twice_bytes for trial in trials)
    worst_bytes = max(trial.twice_bytes for trial in trials)
    model_bytes = kills.count * kills.size_bytes
    struck = sum(trial.in_the_middle for trial in trials)
    found = (
        f"{len(faults)} faults; {struck} in the middle of a pull; "
        f"sent twice: {twice_bytes / model_bytes:.2%} of all, "
        f"{worst_bytes / kills.size_bytes:.1%} ({worst_bytes / 1e6:.1f} MB) at worst"
    )
    return Row(
        case=f"SIGKILL of {whom} at {kills.count} random moments, {kills.size_bytes / 1e6:g} MB",
        target="no store lists a broken model; the next pull resumes (< 10 % twice), all end equal",
        found="; ".join([found, *faults[:3]]),
        holds=not faults and twice_bytes < _MOST * model_bytes,
        registry_bytes=model_bytes + twice_bytes,
        model_bytes=model_bytes,
        seconds=round(took_s, 3),
        figures={
            "sent_twice_bytes": [trial.twice_bytes for trial in trials],
            "in_the_middle": struck,
            "faults": faults,
            "real_ollama": real,
        },
    )


async def _trial(
    on: Stage, made: Made, moment: Moment, kill: Callable[[], Awaitable[Back]]
) -> Trial:
    inspector = Inspector()
    before_bytes = await on.registry.bytes()
    spreading = asyncio.Event()
    pulling = asyncio.create_task(_follow(on, made, spreading))
    await _come(moment, spreading, pulling)
    in_the_middle = not pulling.done()
    back = await kill()
    faults = await asyncio.to_thread(inspector.broken, on.stores)
    await back()
    pulling.cancel()  # who was pulling has left
    await asyncio.wait([pulling])
    faults += await asyncio.to_thread(inspector.broken, on.stores)
    last = await _follow(on, made)
    if last.get("status") != "success":
        faults.append(f"the next pull ended with {last}")
    faults += await asyncio.to_thread(inspector.broken, on.stores)
    lacking = await asyncio.to_thread(inspector.lacking, made, on.stores)
    faults += [f"{store} has it not, or not whole" for store in lacking]
    if on.program.real and not faults:
        faults += await _cannot_run(on, made)
    sent_bytes = await on.registry.bytes() - before_bytes
    told = [f"{made.stored}: {fault}" for fault in faults]
    return Trial(sent_bytes - made.size_bytes, in_the_middle, told)


async def _come(moment: Moment, spreading: asyncio.Event, pulling: asyncio.Task[Record]) -> None:
    """Wait until the moment has come; a pull that ends before that has ended is a moment, too."""
    if moment.spreading:
        begun = asyncio.create_task(spreading.wait())
        await asyncio.wait([begun, pulling], return_when=asyncio.FIRST_COMPLETED)
        begun.cancel()
    await asyncio.sleep(moment.after_s)


async def _follow(on: Stage, made: Made, spreading: asyncio.Event | None = None) -> Record:
    """Pull to the end; its last record. A fleet that is killed says no more."""
    last: Record = {}
    with suppress(aiohttp.ClientError):
        async with aclosing(on.fleet.pull(made.name)) as records:
            async for last in records:
                if "target" in last and spreading is not None:
                    spreading.set()
    return last


async def _kill_instance(on: Stage, name: str) -> Back:
    pid = (await on.fleet.instances())[name]["pid"]
    os.kill(pid, signal.SIGKILL)

    async def is_back() -> bool:
        instance = (await on.fleet.instances())[name]
        return bool(instance["pid"] != pid and instance["phase"] == "ready")

    async def back() -> None:
        await until(is_back, f"{name} is up again")

    return back


async def _kill_fleet(on: Stage, _rng: random.Random) -> Back:
    await on.fleet.kill()
    return on.fleet.start


async def _kill_target(on: Stage, rng: random.Random) -> Back:
    return await _kill_instance(on, rng.choice(_TARGETS))


async def _kill_puller(on: Stage, _rng: random.Random) -> Back:
    return await _kill_instance(on, _PULLER)


FLEET: Final = Victim("the fleet", _kill_fleet)
TARGET: Final = Victim("a target", _kill_target)
PULLER: Final = Victim("the pulling instance", _kill_puller, only_downloading=True)


async def _cannot_run(on: Stage, made: Made) -> list[str]:
    """The instances that cannot answer with the model."""
    found = []
    for name, instance in (await on.fleet.instances()).items():
        body = {"model": made.stored, "prompt": "hi", "stream": False, "keep_alive": 0}
        body["options"] = {"num_predict": 2, "num_ctx": 512}
        async with on.session.post(f"{instance['url']}/api/generate", json=body) as answer:
            if answer.status != _ANSWERED:
                found.append(f"{name} cannot run it: {answer.status} {await answer.text()}")
    return found
