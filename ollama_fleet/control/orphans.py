"""What a fleet that was killed has left running: found by its run records, and ended.

A record says which process an instance was. The parent-death signal ends that process with the
fleet, but not its runners, and they hold the GPUs' memory.
"""

import asyncio
import json
import math
import os
import signal
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from enum import Enum
from hashlib import sha256
from pathlib import Path
from typing import Final

from ollama_fleet.control.processes import (
    Process,
    all_processes,
    boot_id,
    environment_of,
    send,
)
from ollama_fleet.placement import InstanceSpec

_POLL_S: Final = 0.02
_VANISH_S: Final = 5.0
_SUFFIX: Final = ".run.json"


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A started instance: enough to know its process again, and only that."""

    name: str
    pid: int
    started_ticks: int
    port: int
    gpus: tuple[str, ...]
    argv_hash: str
    boot_id: str


class Action(Enum):
    """What to do about a record."""

    END_ALL = "end the instance and its runners"
    END_RUNNERS = "end the runners that outlived it"
    FORGET = "nothing of it is left"


def decide(
    record: RunRecord, leader: Process | None, members: Sequence[Process], boot: str
) -> Action:
    """What to do, given who has the record's pid now and who lives in the group it founded.

    The kernel gives no pid to a new process while a group or session bears its number. So a
    stranger with the record's pid proves that all of ours are gone, and the members are its own.
    """
    if record.boot_id != boot:
        return Action.FORGET
    if leader is not None and leader.started_ticks != record.started_ticks:
        return Action.FORGET
    if leader is not None and leader.alive:
        return Action.END_ALL
    return Action.END_RUNNERS if members else Action.FORGET


def run_record(spec: InstanceSpec, pid: int, started_ticks: int, argv: Sequence[str]) -> RunRecord:
    """The record of an instance that was just started."""
    return RunRecord(
        name=spec.name,
        pid=pid,
        started_ticks=started_ticks,
        port=spec.port,
        gpus=tuple(gpu.uuid for gpu in spec.gpus),
        argv_hash=sha256("\0".join(argv).encode(errors="surrogateescape")).hexdigest(),
        boot_id=boot_id(),
    )


def write_record(directory: Path, record: RunRecord) -> None:
    """Keep a record, whole or not at all, for our eyes only. Raises OSError."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = directory / f"{record.name}{_SUFFIX}"
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    new.touch(mode=0o600, exist_ok=False)
    new.write_text(json.dumps(asdict(record)), encoding="utf-8")
    new.replace(path)


def remove_record(directory: Path, name: str) -> None:
    """Drop a record; that there is none is fine."""
    with suppress(OSError):
        (directory / f"{name}{_SUFFIX}").unlink(missing_ok=True)


def parse_record(text: str) -> RunRecord:
    """Read a record. Raises ValueError for anything that `write_record` does not write."""
    try:
        values = json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    names = {field.name for field in fields(RunRecord)}
    if not isinstance(values, dict) or set(values) != names:
        raise ValueError("not the fields of a run record")
    gpus = values.pop("gpus")
    numbers = [values[name] for name in ("pid", "started_ticks", "port")]
    texts = [values[name] for name in ("name", "argv_hash", "boot_id")]
    if not all(type(n) is int for n in numbers) or not all(isinstance(t, str) for t in texts):
        raise ValueError("a field of a wrong type")
    if not isinstance(gpus, list) or not all(isinstance(g, str) for g in gpus):
        raise ValueError("gpus is not a list of names")
    if values["pid"] < 2:  # 0 and 1 stand for half the machine in a signal to a group
        raise ValueError(f"pid {values['pid']} is never an instance")
    return RunRecord(gpus=tuple(gpus), **values)


async def sweep(directory: Path, *, grace_s: float) -> tuple[str, ...]:
    """End what the records in a directory say was left running; one line per finding, for people.

    All have `grace_s` together to obey TERM, then they are killed. A record goes once nothing of
    it is left. Raises nothing for what it finds.
    """
    records, lines = _read_records(directory)
    if not records:  # always so where there are no groups to end: docs/platforms.md
        return tuple(lines)
    found = _survey(records)
    left = found
    for number, patience_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, _VANISH_S)):
        left = await _end(tuple(left), number, patience_s)
    for record in records:
        if record in left:
            lines.append(f"{record.name}: {_shown(left[record])} cannot be ended, not even by KILL")
            continue
        if record in found:
            lines.append(f"{record.name}: ended {_shown(found[record])}, left by a killed fleet")
        remove_record(directory, record.name)
    return tuple(lines)


def _read_records(directory: Path) -> tuple[list[RunRecord], list[str]]:
    """All records, and a line for each that had to be set aside."""
    records, lines = [], []
    for path in sorted(directory.glob(f"*{_SUFFIX}")):
        try:
            records.append(parse_record(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            aside = path.with_suffix(".bad")
            with suppress(OSError):
                path.replace(aside)
            lines.append(f"{path.name} is no run record and was set aside as {aside.name}: {error}")
    return records, lines


def _survey(records: Iterable[RunRecord]) -> dict[RunRecord, tuple[Process, ...]]:
    """The records of which something is left, and what: the leader first."""
    table, boot = {p.pid: p for p in all_processes() if p.pid != os.getpid()}, boot_id()
    found = {}
    for record in records:
        leader = table.get(record.pid)
        members = tuple(p for p in table.values() if p.pid != record.pid and _is_of(p, record))
        match decide(record, leader, members, boot):
            case Action.END_ALL if leader is not None:
                found[record] = (leader, *members)
            case Action.END_RUNNERS:
                found[record] = members
    return found


def _is_of(process: Process, record: RunRecord) -> bool:
    """Alive, in the record's group or session, and of its making: it inherited where to listen."""
    if not process.alive or record.pid not in (process.pgid, process.sid):
        return False
    entries = environment_of(process.pid)
    return any(e.startswith("OLLAMA_HOST=") and e.endswith(f":{record.port}") for e in entries)


async def _end(
    records: Sequence[RunRecord], number: signal.Signals, patience_s: float
) -> dict[RunRecord, tuple[Process, ...]]:
    """Signal what is left of the records, once each, newcomers too; what still is left then.

    Their time begins when they have been signalled, however long it took to find them.
    """
    loop = asyncio.get_running_loop()
    until_s = math.inf
    signalled: set[tuple[int, int]] = set()
    while left := _survey(records):
        for process in {p for processes in left.values() for p in processes}:
            if process.identity not in signalled:
                signalled.add(process.identity)
                send(process, number)
        until_s = min(until_s, loop.time() + patience_s)
        if loop.time() >= until_s:
            break
        await asyncio.sleep(_POLL_S)
    return left


def _shown(processes: Sequence[Process]) -> str:
    return "pid " + ", ".join(str(p.pid) for p in processes)
