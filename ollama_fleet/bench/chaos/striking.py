"""Does to a running fleet what the schedule says."""

import asyncio
import os
import resource
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import aiohttp
import psutil

from ollama_fleet.bench.chaos.fleet import ChaosFleet
from ollama_fleet.bench.chaos.schedule import Fault, Strike
from ollama_fleet.errors import Exit, FleetError

Instance = Mapping[str, Any]  # a row of the fleet's snapshot

_PATIENCE_S: Final = 30.0  # for an instance that is being started again
_LOOK_S: Final = 0.1
_STARTS: Final = 3  # in vain, after which a fleet will not come back


class Striker:
    """Strikes, and counts what has struck and what has `missed`; `skipped` says why it last did.

    `failed_starts` has the errors of a `fleet up` that came to nothing after a crash.
    An instance that does not run when its fault is due is waited for; in vain, if it takes long.
    """

    def __init__(self, fleet: ChaosFleet) -> None:
        self._fleet = fleet
        self._up = asyncio.Event()
        self._up.set()
        self._one_kill = asyncio.Lock()
        self.struck: Counter[str] = Counter()
        self.missed: Counter[str] = Counter()
        self.skipped: dict[str, str] = {}
        self.failed_starts: list[str] = []

    async def carry_out(self, strikes: tuple[Strike, ...], start_s: float) -> None:
        """Strike at the right moments of the monotonic clock; return when all is lifted again."""
        async with asyncio.TaskGroup() as group:
            for strike in strikes:
                await asyncio.sleep(max(0.0, start_s + strike.at_s - time.monotonic()))
                group.create_task(self._strike(strike))

    async def _strike(self, strike: Strike) -> None:
        if strike.fault is Fault.KILL_FLEET:
            await self._kill_fleet()
            self.struck[strike.fault.value] += 1
            return
        try:
            instance = await self._victim(strike.instance)
            if instance is None:
                self._missed(strike, "no instance was there")
            elif await self._do(strike, instance):
                self.struck[strike.fault.value] += 1
        except (OSError, aiohttp.ClientError, TimeoutError, psutil.Error) as error:
            # What was to be struck has died meanwhile: another fault was there first.
            self._missed(strike, str(error) or type(error).__name__)

    def _missed(self, strike: Strike, why: str) -> None:
        self.missed[strike.fault.value] += 1
        self.skipped[strike.fault.value] = why

    async def _do(self, strike: Strike, instance: Instance) -> bool:
        if strike.script:
            await self._scripted(strike, instance)
            return True
        return await self._means[strike.fault](strike, instance)

    @property
    def _means(self) -> Mapping[Fault, Callable[[Strike, Instance], Awaitable[bool]]]:
        return {
            Fault.KILL_SERVER: self._kill_server,
            Fault.KILL_GROUP: self._kill_group,
            Fault.KILL_RUNNER: self._kill_runner,
            Fault.STOP: self._stop,
            Fault.DISK_FULL: self._fill_disk,
            Fault.STORE_FULL: self._fill_store,
            Fault.RESTART: self._restart,
            Fault.DRAIN: self._drain,
            Fault.RELOAD: self._reload,
        }

    # -- whom ------------------------------------------------------------------------------------

    async def _victim(self, number: int) -> Instance | None:
        """The instance of that number, once fleet and it run; None if it does not in time."""
        await self._up.wait()
        until_s = time.monotonic() + _PATIENCE_S
        while time.monotonic() < until_s:
            with suppress(OSError, aiohttp.ClientError):
                rows = (await self._fleet.status())["instances"]
                row: Instance = rows[number % len(rows)]
                if row["pid"]:
                    return row
            await asyncio.sleep(_LOOK_S)
        return None

    # -- signals -----------------------------------------------------------------------------------

    async def _kill_server(self, _strike: Strike, instance: Instance) -> bool:
        os.kill(instance["pid"], signal.SIGKILL)
        return True

    async def _kill_group(self, _strike: Strike, instance: Instance) -> bool:
        os.killpg(instance["pid"], signal.SIGKILL)
        return True

    async def _kill_runner(self, strike: Strike, instance: Instance) -> bool:
        runners = psutil.Process(instance["pid"]).children()
        for runner in runners:
            runner.kill()
        if not runners:
            self._missed(strike, "no runner was there")
        return bool(runners)

    async def _stop(self, strike: Strike, instance: Instance) -> bool:
        process = os.pidfd_open(instance["pid"])
        try:
            signal.pidfd_send_signal(process, signal.SIGSTOP)
            await asyncio.sleep(strike.lasts_s)
            with suppress(ProcessLookupError):  # the fleet has ended it, as it should
                signal.pidfd_send_signal(process, signal.SIGCONT)
        finally:
            os.close(process)
        return True

    async def _kill_fleet(self) -> None:
        async with self._one_kill:
            self._up.clear()
            await self._fleet.kill()
            while not await self._started():
                continue
            self._up.set()

    async def _started(self) -> bool:
        try:
            await self._fleet.start_again()
        except FleetError as error:
            self.failed_starts.append(str(error))
            if len(self.failed_starts) > _STARTS:
                raise
            return False
        return True

    # -- what the simulated Ollama does to itself --------------------------------------------------

    async def _scripted(self, strike: Strike, instance: Instance) -> None:
        await _set_faults(instance["url"], strike.script)
        await asyncio.sleep(strike.lasts_s)
        with suppress(OSError, aiohttp.ClientError, TimeoutError):  # a new process has no script
            await _set_faults(instance["url"], "")

    # -- disks: a process that may not make files longer meets what it would on a full one ---------

    async def _fill_disk(self, strike: Strike, _instance: Instance) -> bool:
        fleet = self._fleet.pid()
        instances = {row["pid"] for row in (await self._fleet.status())["instances"]}
        own = [c.pid for c in psutil.Process(fleet).children() if c.pid not in instances]
        return await self._fill((fleet, *own), strike.lasts_s)

    async def _fill_store(self, strike: Strike, instance: Instance) -> bool:
        return await self._fill((instance["pid"],), strike.lasts_s)

    async def _fill(self, pids: Sequence[int], lasts_s: float) -> bool:
        for pid in pids:
            _limit_files(pid, 0)
        await asyncio.sleep(lasts_s)
        for pid in pids:
            with suppress(OSError, psutil.Error):
                for child in psutil.Process(pid).children(recursive=True):
                    _limit_files(child.pid, None)  # it has inherited the limit
                _limit_files(pid, None)
        return True

    # -- what an administrator does ----------------------------------------------------------------

    async def _restart(self, strike: Strike, instance: Instance) -> bool:
        return await self._command(strike, "restart", instance["name"])

    async def _reload(self, strike: Strike, _instance: Instance) -> bool:
        return await self._command(strike, "reload")

    async def _drain(self, strike: Strike, instance: Instance) -> bool:
        drained = await self._command(strike, "drain", instance["name"])
        await asyncio.sleep(strike.lasts_s)
        await self._fleet.command("undrain", instance["name"])
        return drained

    async def _command(self, strike: Strike, *arguments: str) -> bool:
        """Whether it came to something, which it need not while all is in turmoil."""
        code, said = await self._fleet.command(*arguments)
        if code != Exit.OK:
            self._missed(strike, f"`fleet {arguments[0]}`: exit code {code}: {said}")
        return code == Exit.OK


async def _set_faults(instance_url: str, script: str) -> None:
    timeout = aiohttp.ClientTimeout(total=5)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.post(f"{instance_url}/sim/faults", data=script) as answer,
    ):
        answer.raise_for_status()


def _limit_files(pid: int, size_bytes: int | None) -> None:
    """How long the process may make a file; None: as long as it is allowed. Raises OSError."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard if size_bytes is None else size_bytes, hard))
