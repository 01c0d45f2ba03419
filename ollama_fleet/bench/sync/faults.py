"""What goes wrong at a registry, on its link or on a disk: a plain error, and nothing else breaks.

Each scene pulls with `fleet pull`, as its users do, while something is wrong. Its exit status is to
be 0 exactly if all have the model in the end, its error is to name the cause, and whoever can have
the model all the same is to have it. Then all is well again, and one more pull has to succeed.
"""

import asyncio
import shutil
import tempfile
import time
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ollama_fleet.bench.sync.registry import Made
from ollama_fleet.bench.sync.row import Row, skipped
from ollama_fleet.bench.sync.stage import Setting, Stage, stage
from ollama_fleet.bench.sync.whole import Inspector
from ollama_fleet.errors import FleetError

_TARGET: Final = "plain error, nothing broken, other targets done, exit status right"
_STORES: Final = 3
_ALL: Final = tuple(range(_STORES))
_UNKNOWN: Final = "library/nobody:1"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong; `told` is what the stand-in is told of it, if it is at fault.

    `says` is a part of the error that names the cause, "" where the pull is to succeed all the
    same; `without` are the numbers of the stores that cannot have the model then.
    """

    name: str
    says: str
    told: dict[str, Any] | None = None
    without: Collection[int] = _ALL
    model: str = ""


@dataclass(frozen=True, slots=True)
class Size:
    """The bytes of a model; and whether a real Ollama is not to be used even if there is one."""

    model_bytes: int
    simulated: bool = False


def _status(status: int, says: str) -> Fault:
    told = {"kind": "status", "path": "/manifests/", "status": status, "body": "says no"}
    return Fault(str(status), says, told)


def _of_registry(size: Size) -> Sequence[Fault]:
    half_bytes = size.model_bytes // 2
    reset = {"kind": "reset", "path": "/bytes/", "after_bytes": half_bytes, "times": 1}
    return (
        Fault("unknown model", "file does not exist", model=_UNKNOWN),
        _status(401, "unauthorized"),
        _status(429, "429: says no"),
        Fault("wrong digest", "digest mismatch", {"kind": "wrong", "path": "/bytes/"}),
        Fault("reset link", "", reset, without=()),
    )


async def registry_faults(quick: bool) -> Row:  # noqa: FBT001 - the shape of a case
    """An unknown model, 401, 429, a wrong digest, a link that is reset in mid-blob."""
    return await of_the_registry(Size(30_000_000 if quick else 250_000_000))


async def full_disk(quick: bool) -> Row:  # noqa: FBT001
    """A disk without room for the model: that of a target, and that of the one that pulls."""
    return await of_a_disk(Size(30_000_000 if quick else 250_000_000))


async def of_the_registry(size: Size) -> Row:
    """All that the registry may do wrong, one after another."""
    began_s = time.monotonic()
    async with stage(Setting(stores=_STORES, simulated=size.simulated)) as on:

        async def mend() -> None:
            await on.registry.fail()

        errors = [await _played(on, fault, size, mend) for fault in _of_registry(size)]
        names = ", ".join(fault.name for fault in _of_registry(size))
        return _row(f"at the registry: {names}", on, errors, began_s)


async def of_a_disk(size: Size) -> Row:
    """A disk that is too small, until it has been made larger."""
    case, began_s, errors = "a full disk: of a target, of the one that pulls", time.monotonic(), []
    try:
        for number in (1, 0):
            async with _small_disk(size.model_bytes // 2) as disk, _near() as near:
                places = [disk.path if n == number else near for n in _ALL]
                setting = Setting(stores=_STORES, places=places, simulated=size.simulated)
                async with stage(setting) as on:
                    fault = Fault(f"no room for g{number}", f"g{number}: ", without=(number,))
                    errors.append(await _played(on, fault, size, disk.grow))
    except _NoDisk as error:
        return skipped(case, _TARGET, f"no small disk can be made here: {error}")
    return _row(case, on, errors, began_s)


def _row(case: str, on: Stage, errors: Sequence[Sequence[str]], began_s: float) -> Row:
    found = [error for one in errors for error in one]
    return Row(
        case=case,
        target=_TARGET,
        found="; ".join(found[:3]) or f"{len(errors)} of {len(errors)} as it should be",
        holds=not found,
        seconds=round(time.monotonic() - began_s, 3),
        figures={"wrong": found, "real_ollama": on.program.real},
    )


async def _played(
    on: Stage, fault: Fault, size: Size, mend: Callable[[], Awaitable[None]]
) -> Sequence[str]:
    """What was not as it should be."""
    inspector = Inspector()
    seed = zlib.crc32(fault.name.encode())  # no two scenes have a blob in common
    made = await on.registry.make(f"library/faulty:{seed}", size.model_bytes, seed=seed)
    name = on.registry.name(fault.model) if fault.model else made.name
    if fault.told is not None:
        await on.registry.fail(fault.told)
    done = await on.fleet.run("pull", "--insecure", name)
    wrong = []
    if done.code != int(bool(fault.says)):
        wrong.append(f"`fleet pull` ended with {done.code}")
    if fault.says not in done.err:
        wrong.append(f"it did not say why: {done.err.strip()[-200:]!r}")
    wrong += await asyncio.to_thread(inspector.broken, on.stores)
    wrong += await asyncio.to_thread(_spread_wrongly, inspector, made, on, fault)
    await mend()
    last = await on.fleet.run("pull", "--insecure", made.name)
    if last.code:
        wrong.append(f"the next pull failed: {last.err.strip()[-200:]}")
    wrong += await asyncio.to_thread(inspector.broken, on.stores)
    lacking = await asyncio.to_thread(inspector.lacking, made, on.stores)
    wrong += [f"{store} lacks it in the end" for store in lacking]
    return [f"{fault.name}: {each}" for each in wrong]


def _spread_wrongly(inspector: Inspector, made: Made, on: Stage, fault: Fault) -> Sequence[str]:
    lacking = inspector.lacking(made, on.stores)
    expected = [on.stores[number].name for number in sorted(fault.without)]
    return [] if lacking == expected else [f"without it are {lacking}, and should be {expected}"]


# -- disks -----------------------------------------------------------------------------------------


class _NoDisk(FleetError):
    """This machine lets nobody mount one, or not this user."""


@dataclass(frozen=True, slots=True)
class _Disk:
    """A mounted file system in memory."""

    path: Path

    async def grow(self) -> None:
        """Make it as large as any model here."""
        await _command("mount", "-o", "remount,size=8g", str(self.path))


@asynccontextmanager
async def _small_disk(size_bytes: int) -> AsyncIterator[_Disk]:
    async with _near() as folder:
        path = folder / "disk"
        path.mkdir()
        await _command("mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "fleet-bench", str(path))
        try:
            yield _Disk(path)
        finally:
            await _command("umount", "--lazy", str(path))


@asynccontextmanager
async def _near() -> AsyncIterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fleet-bench-") as folder:
        yield Path(folder)


async def _command(*arguments: str) -> None:
    program = shutil.which(arguments[0])
    if program is None:
        raise _NoDisk(f"there is no {arguments[0]}")
    process = await asyncio.create_subprocess_exec(
        program,
        *arguments[1:],
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    if process.returncode:
        raise _NoDisk(said.decode(errors="replace").strip())
