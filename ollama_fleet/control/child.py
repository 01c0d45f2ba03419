"""A process of ours, from its start to the burial of the last member of its group.

The exit of the child is an event. It stays a zombie until its group has been killed: so long the
kernel gives its pid to nobody else, and a signal to the group cannot hit a stranger.
"""

import asyncio
import math
import os
import signal
import subprocess
from concurrent.futures import Future
from contextlib import suppress
from typing import Final, Protocol

from ollama_fleet.control.processes import find_process, living_members

_POLL_S: Final = 0.05  # where the kernel cannot tell us of an exit
_VANISH_S: Final = 5.0  # for what was killed to be gone; only a hanging driver takes longer
_SCAN_AFTER_S: Final = 0.1
_FLUSH_S: Final = 5.0  # a machine that is short of CPUs lets the reader of the logs wait
_UNSEEN_EXIT: Final = 255  # somebody else has buried the child


class Logs(Protocol):
    """Where what children print is kept."""

    def open(self, name: str) -> int:
        """A file descriptor to print to; the caller closes it."""
        ...

    def flush(self, name: str) -> "Future[None]":
        """Done when all that was printed before is captured."""
        ...

    def tail(self, name: str, lines: int = 20) -> tuple[str, ...]:
        """The last lines captured."""
        ...


class LocalChild:
    """A child of this process that leads a group of its own. Made on the running loop."""

    def __init__(self, name: str, popen: "subprocess.Popen[bytes]", logs: Logs) -> None:
        self._name, self._popen, self._logs = name, popen, logs
        self.pid = popen.pid
        process = find_process(self.pid)
        self.started_ticks = process.started_ticks if process else 0
        self._loop = asyncio.get_running_loop()
        self._exit: asyncio.Future[int] = self._loop.create_future()
        self._ending: asyncio.Task[tuple[int, ...]] | None = None
        self._kill_at_s = math.inf
        self._patience: asyncio.Timeout | None = None
        self._gone = False
        self._watch()

    async def wait(self) -> int:
        """Its exit code once it has ended, negative for the signal that ended it."""
        return await asyncio.shield(self._exit)

    async def stop(self, grace_s: float) -> tuple[int, ...]:
        """End it and its whole group; needed also after it has ended by itself.

        It has `grace_s` to obey TERM, then all are killed. Asking again with less time shortens
        it. The work goes on if the caller is cancelled. Returns the pids that would not die.
        """
        if self._gone:
            return ()
        self._kill_at_s = min(self._kill_at_s, self._loop.time() + grace_s)
        if self._ending is None or self._ending.done():
            self._ending = self._loop.create_task(self._end(), name=f"end {self._name}")
        elif self._patience is not None and not self._patience.expired():
            self._patience.reschedule(self._kill_at_s)
        return await asyncio.shield(self._ending)

    async def tail(self, lines: int) -> tuple[str, ...]:
        """The last lines of its log, with all that it has printed until now."""
        flushed = asyncio.wrap_future(self._logs.flush(self._name))
        with suppress(TimeoutError):  # a disk that hangs: then without the very last
            async with asyncio.timeout(_FLUSH_S):
                await flushed
        return self._logs.tail(self._name, lines)

    # -- the exit of the child ------------------------------------------------------------------

    def _watch(self) -> None:
        try:
            pidfd = os.pidfd_open(self.pid)
        except (AttributeError, OSError):  # an old kernel, or a sandbox
            self._poll()
        else:
            self._loop.add_reader(pidfd, self._ended, pidfd)

    def _ended(self, pidfd: int) -> None:
        self._loop.remove_reader(pidfd)
        os.close(pidfd)
        self._poll()

    def _poll(self) -> None:
        code = exit_code(self.pid) if hasattr(os, "waitid") else self._buried_code()
        if code is None:
            self._loop.call_later(_POLL_S, self._poll)
        else:
            self._exit.set_result(code)

    def _buried_code(self) -> int | None:
        """Its exit code where that is told at its burial alone: on macOS before Python 3.13.

        From then on its number is free for others, so what is left of its group dies at once.
        """
        code = self._popen.poll()
        if code is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        return code

    # -- the end of the group -------------------------------------------------------------------

    async def _end(self) -> tuple[int, ...]:
        try:
            if not self._exit.done():
                self._signal(signal.SIGTERM)
                self._signal(signal.SIGCONT)  # a stopped process could not obey
                await self._obeyed()
        finally:  # also if the loop is shut down meanwhile
            self._signal(signal.SIGKILL)
        await asyncio.wait([self._exit], timeout=_VANISH_S)
        if not self._exit.done():
            return await self._living()
        self._popen.poll()
        survivors = await self._bury_group()
        self._gone = not survivors
        return survivors

    async def _obeyed(self) -> None:
        with suppress(TimeoutError):
            try:
                async with asyncio.timeout_at(self._kill_at_s) as self._patience:
                    await asyncio.shield(self._exit)
            finally:
                self._patience = None

    def _signal(self, number: signal.Signals) -> None:
        if self._popen.returncode is None:  # not buried: the number is still its own
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    async def _bury_group(self) -> tuple[int, ...]:
        """Bury the members that became our children, until there are none; who still lives."""
        began_s, pause_s = self._loop.time(), 0.001
        while bury_and_look(self.pid):
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _POLL_S)
            waited_s = self._loop.time() - began_s
            if waited_s <= _SCAN_AFTER_S:
                continue
            living = await self._living()
            if not living:
                bury_and_look(self.pid)  # who died since the last look; others bury what is left
                return ()
            if waited_s > _VANISH_S:
                return living
        return ()

    async def _living(self) -> tuple[int, ...]:
        return tuple(p.pid for p in await asyncio.to_thread(living_members, self.pid))


def exit_code(pid: int) -> int | None:
    """How a child of ours ended, negative for a signal; None while it runs. Does not bury it."""
    try:
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return _UNSEEN_EXIT
    if ended is None:
        return None
    return ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status


def bury_and_look(pgid: int) -> bool:
    """Bury all zombies of a group that are children of ours; whether anyone is left in it."""
    with suppress(ChildProcessError):
        while os.waitpid(-pgid, os.WNOHANG)[0]:
            pass
    try:
        os.killpg(pgid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
