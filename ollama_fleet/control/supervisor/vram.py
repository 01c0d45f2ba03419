"""Is the memory of a dead process back? Only then may the next one start: VRAM is exclusive."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from pathlib import Path
from typing import Final

from ollama_fleet.control.processes import find_process, living_members
from ollama_fleet.gpu import GpuSample

FREED_WITHIN_S: Final = 10.0
_POLL_S: Final = 0.1
_COMMAND_CHARS: Final = 120


async def no_reading() -> GpuSample:
    """Stand where there is no GPU to read."""
    return GpuSample()


async def until_freed(
    pids: frozenset[int],
    uuids: frozenset[str],
    read: Callable[[], Awaitable[GpuSample]],
    *,
    timeout_s: float = FREED_WITHIN_S,
) -> tuple[int, ...]:
    """Wait until these processes, which have ended, hold memory on none of these GPUs.

    Returns who still does. A driver that lists no processes, or other numbers than ours (as from
    inside a container), tells nothing: then nobody waits.
    """
    deadline_s = asyncio.get_running_loop().time() + timeout_s
    while held := _held(pids, uuids, await read()):
        if asyncio.get_running_loop().time() >= deadline_s:
            return held
        await asyncio.sleep(_POLL_S)
    return ()


def _held(pids: frozenset[int], uuids: frozenset[str], sample: GpuSample) -> tuple[int, ...]:
    holders = {pid for r in sample.readings if r.uuid in uuids for pid in r.pids}
    return tuple(sorted(pids & holders))


async def commands_of(leader: int) -> Mapping[int, str]:
    """The command lines of a group's living members, and of who founded it, by pid."""

    def look() -> Mapping[int, str]:
        pids = {leader, *(process.pid for process in living_members(leader))}
        return {pid: command_of(pid) for pid in pids}

    return await asyncio.to_thread(look)  # which reads the table of all processes


def command_of(pid: int) -> str:
    """The command line of a process, on one line; "" for one that has ended, or has none."""
    try:
        raw = Path("/proc", str(pid), "cmdline").read_bytes()
    except OSError:
        return ""
    words = raw.rstrip(b"\0").decode(errors="replace").split("\0")
    line = " ".join("".join(c if c.isprintable() else " " for c in word) for word in words)
    return line if len(line) <= _COMMAND_CHARS else f"{line[: _COMMAND_CHARS - 1]}…"


def describe(held: Collection[int], commands: Mapping[int, str]) -> str:
    """Who holds the memory, for people; `commands` are those from before the stop."""
    return "; ".join(_who(pid, commands.get(pid, "")) for pid in held)


def _who(pid: int, command: str) -> str:
    process = find_process(pid)
    how = "which runs still" if process is not None and process.alive else "which has ended"
    return f"by pid {pid} ({command or 'command unknown'}), {how}"
