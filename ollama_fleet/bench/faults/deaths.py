"""Instances that are killed or stop, under load: F1, F2 and F3 of the goal table."""

import asyncio
import os
import random
import signal
import time
from typing import Final

from ollama_fleet.bench.faults.clients import Crowd, End, Seen, crowd
from ollama_fleet.bench.faults.fleet import FaultFleet
from ollama_fleet.bench.faults.row import Row, within

CLIENTS: Final = 200
_WARM_S: Final = 3.0
_KILL_EVERY_S: Final = 5.0
_OUT: Final = (
    "instance_ejected", "instance_exited", "instance_unhealthy", "instance_draining",
)  # fmt: skip


async def killed(fleet: FaultFleet) -> Row:
    """F1: SIGKILL one of four."""
    victim = (await fleet.instances())[1]
    name = victim["name"]
    async with crowd(fleet.url, CLIENTS, warm_s=_WARM_S) as there:
        struck_s = time.time()
        os.kill(victim["pid"], signal.SIGKILL)
        out_s = await fleet.told(name, _OUT, struck_s)
        respawned_s = await fleet.told(name, ("instance_starting",), struck_s)
        ready_s = await fleet.told(name, ("instance_ready",), struck_s)
        await asyncio.sleep(2.0)
    failed = there.count(lambda seen: seen.failed)
    told = there.count(lambda seen: seen.end is End.TOLD)
    wrong = there.count(lambda seen: seen.end in (End.CUT, End.SILENT))
    figures = {
        "requests": len(there.seen),
        "failed_without_a_byte": failed,
        "streams_ended_with_an_error_record": told,
        "streams_ended_otherwise": wrong,
        "out_of_rotation_after_s": out_s,
        "respawned_after_s": respawned_s,
        "back_after_s": ready_s,
    }
    quick = within(out_s, 0.2) and within(respawned_s, 1.0) and within(ready_s, 3.0)
    return Row("F1", "SIGKILL 1 of 4", figures, quick and told > 0 and not failed + wrong)


async def killed_again_and_again(fleet: FaultFleet, seconds: float, seed: int) -> Row:
    """F2: SIGKILL a random one every five seconds."""
    rng = random.Random(seed)  # noqa: S311 - a reproducible order
    before = await fleet.metric("retries_total")
    asked_before = await fleet.metric("requests_total")
    most = 0.0
    async with crowd(fleet.url, CLIENTS, warm_s=_WARM_S) as there:
        until_s, kills = time.monotonic() + seconds, 0
        while time.monotonic() < until_s:
            up = [row for row in await fleet.instances() if row["phase"] == "ready"]
            retries = await fleet.metric("retries_total")
            os.kill(rng.choice(up)["pid"], signal.SIGKILL)
            kills += 1
            await asyncio.sleep(_KILL_EVERY_S)
            now = await fleet.metric("retries_total")
            most = max(most, (now - retries) / max(there.under_way, 1))
    failed = there.count(lambda seen: seen.failed)
    wrong = there.count(lambda seen: seen.end is End.SILENT)
    asked = await fleet.metric("requests_total") - asked_before
    share = 1 - failed / max(len(there.seen), 1)
    figures = {
        "kills": kills,
        "requests": len(there.seen),
        "served_share_of_those_without_a_byte": share,
        "retries_per_request": (await fleet.metric("retries_total") - before) / max(asked, 1),
        "most_retries_per_active_request": most,
        "taken_for_whole_and_not": wrong,
    }
    return Row("F2", "SIGKILL every 5 s", figures, share >= 0.999 and most <= 0.2 and not wrong)


async def stopped(fleet: FaultFleet) -> Row:
    """F3: SIGSTOP one of four, until it is found out; then SIGCONT."""
    victim = (await fleet.instances())[2]
    name = victim["name"]
    async with crowd(fleet.url, CLIENTS, warm_s=_WARM_S) as there:
        struck_s, sent_s = time.time(), time.monotonic()
        os.kill(victim["pid"], signal.SIGSTOP)
        try:
            found_s = await fleet.told(name, ("instance_unhealthy", "instance_ejected"), struck_s)
            given = (await fleet.instance(name))["requests"]
            late_s, new = await _given_later(fleet, name, given, struck_s)
        finally:
            os.kill(victim["pid"], signal.SIGCONT)
        woken_s = time.time()
        back = "instance_readmitted", "instance_ready"
        back_s = await fleet.told(name, back, woken_s)
        served_s = await _served(fleet, name, given)
    stuck = there.count(lambda seen: seen.failed)
    figures = {
        "found_out_after_s": found_s,
        "watched_until_s": late_s,
        "given_to_it_after_that": new,
        "back_after_s": back_s,
        "given_requests_again_after_s": served_s,
        "requests": len(there.seen),
        "failed_without_a_byte": stuck,
        "longest_without_a_byte_s": _longest(there, sent_s),
    }
    quick = within(found_s, 6.0) and within(back_s, 5.0)
    return Row("F3", "SIGSTOP, then SIGCONT", figures, quick and not new and not stuck)


async def _given_later(
    fleet: FaultFleet, name: str, given: int, struck_s: float
) -> tuple[float, int]:
    """Watch for a while whether it is given any more: until when, and how many."""
    await asyncio.sleep(1.5)
    return time.time() - struck_s, int((await fleet.instance(name))["requests"]) - given


async def _served(fleet: FaultFleet, name: str, given: int) -> float | None:
    return await fleet.until(
        lambda rows: any(row["name"] == name and row["requests"] > given for row in rows)
    )


def _longest(there: Crowd, since_s: float) -> float:
    def wait_s(seen: Seen) -> float:
        return (seen.first_s or seen.ended_s) - seen.sent_s

    return max((wait_s(seen) for seen in there.seen if seen.ended_s > since_s), default=0.0)
