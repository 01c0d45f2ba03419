"""What is done to the fleet under load, and what its clients saw of it."""

import asyncio
import signal
import time
from typing import Final

import psutil

from ollama_fleet.bench.changing.fleet import NEW, ChangedFleet, gone_within_s
from ollama_fleet.bench.faults.clients import Crowd, End, crowd
from ollama_fleet.bench.faults.fleet import FaultFleet, hands_on
from ollama_fleet.bench.faults.row import Row, median, within
from ollama_fleet.errors import Exit

_WARM_S: Final = 2.0
_LATEST_S: Final = 30.0
_DRAIN_S: Final = 30.0


async def upgraded(fleet: ChangedFleet, streams: int) -> Row:
    """Replace the program under load, and restart the instances one after another."""
    async with hands_on(fleet.running) as hands, crowd(hands.url, streams, warm_s=_WARM_S) as load:
        fleet.replace_program(NEW)
        noticed_s = await hands.until(lambda rows: all(row["outdated"] for row in rows))
        began_s = time.monotonic()
        done = await asyncio.to_thread(fleet.run, "restart")
        took_s = time.monotonic() - began_s
        rows = await hands.instances()
    figures = {
        **_ends(load, streams),
        "noticed_s": noticed_s,
        "restart_s": took_s,
        "instances_new": sum(row["version"] == NEW for row in rows),
        "exit": done.returncode,
    }
    holds = not _failed(load) and all(row["version"] == NEW for row in rows)
    return Row("upgrade", "a rolling restart to a new binary", figures, holds)


async def reloaded(fleet: ChangedFleet, streams: int) -> Row:
    """F16: the same file, a broken one, and one that is about one instance, under load."""
    async with hands_on(fleet.running) as hands, crowd(hands.url, streams, warm_s=_WARM_S) as load:
        before = await _pids(hands)
        same = await asyncio.to_thread(fleet.run, "reload")
        fleet.write_config("30m", first="[broken")
        broken = await asyncio.to_thread(fleet.run, "reload")
        untouched = await _pids(hands) == before
        metric = await hands.metric("config_last_reload_successful")
        fleet.write_config("30m", first="20m")
        changed = await asyncio.to_thread(fleet.run, "reload")
        after = await _pids(hands)
    touched = [name for name in before if before[name] != after[name]]
    figures = {
        **_ends(load, streams),
        "same_exit": same.returncode,
        "broken_exit": broken.returncode,
        "broken_metric": metric,
        "changed_exit": changed.returncode,
        "instances_restarted": len(touched),
    }
    codes = (same.returncode, broken.returncode, changed.returncode)
    told = untouched and metric == 0 and "fleet.yaml:" in broken.stderr
    holds = codes == (Exit.OK, Exit.CONFIG, Exit.OK) and told and touched == ["g0"]
    return Row(
        "F16", "the same file, a broken one, a changed one", figures, holds and not _failed(load)
    )


def killed(fleet: ChangedFleet, times: int) -> Row:
    """F13: SIGKILL the fleet and start it again, many times."""
    gone_s: list[float | None] = []
    up_s: list[float] = []
    conflicts = left = 0
    for _ in range(times):
        children = [psutil.Process(i["pid"]) for i in fleet.running.status()["instances"]]
        before = {process.pid for process in fleet.children()}
        fleet.kill()
        gone_s.append(gone_within_s(children, _LATEST_S))
        began_s = time.monotonic()
        conflicts += fleet.up() != Exit.OK
        up_s.append(time.monotonic() - began_s)
        left += sum(process.pid in before for process in fleet.children())
    known_s = [s for s in gone_s if s is not None]
    figures = {
        "times": times,
        "children_gone_most_s": max(known_s, default=None),
        "up_median_s": median(up_s),
        "up_most_s": max(up_s),
        "starts_that_failed": conflicts,
        "processes_left_of_the_old": left,
    }
    quick = len(known_s) == times and within(max(up_s), 3.0) and within(max(known_s), 0.1)
    return Row("F13", "SIGKILL the fleet, `fleet up`", figures, quick and not conflicts + left)


async def terminated(fleet: ChangedFleet, streams: int) -> Row:
    """F14: SIGTERM under load."""
    async with hands_on(fleet.running) as hands, crowd(hands.url, streams, warm_s=_WARM_S) as load:
        process = psutil.Process(fleet.pid())
        at_s = time.monotonic()
        load.going_on = False
        process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(process.wait, 2 * _DRAIN_S)
        took_s = time.monotonic() - at_s
    left = len(fleet.children())
    figures = {**_ends(load, streams), "stopped_s": took_s, "processes_left": left}
    whole = all(seen.end is End.WHOLE for seen in load.seen if seen.sent_s < at_s)
    return Row("F14", "SIGTERM under load", figures, whole and took_s < _DRAIN_S and not left)


def _ends(load: Crowd, streams: int) -> dict[str, float | None]:
    return {
        "streams": streams,
        "requests": len(load.seen),
        "failed": _failed(load),
    }


def _failed(load: Crowd) -> int:
    return load.count(lambda seen: seen.end is not End.WHOLE)


async def _pids(hands: FaultFleet) -> dict[str, int]:
    return {row["name"]: row["pid"] for row in await hands.instances()}
