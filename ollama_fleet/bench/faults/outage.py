"""All instances away at once, for longer than requests wait, and back: F11 of the goal table."""

import asyncio
import os
import signal
import time
from typing import Final

from ollama_fleet.bench.faults.clients import End, Seen, crowd
from ollama_fleet.bench.faults.fleet import SLOTS, FaultFleet
from ollama_fleet.bench.faults.row import Row, within

AWAY_S: Final = 8  # seconds, each instance after its start
CLIENTS: Final = 200
_WARM_S: Final = 3.0
_LOOK_S: Final = 0.02


async def outage(fleet: FaultFleet) -> Row:
    """F11: SIGKILL all four; they come back after AWAY_S."""
    async with crowd(fleet.url, CLIENTS, warm_s=_WARM_S) as there:
        peaks: dict[str, int] = {}
        watching = asyncio.create_task(_peaks(fleet, peaks))
        struck_s, struck_unix_s = time.monotonic(), time.time()
        victims = await fleet.instances()
        for row in victims:
            os.kill(row["pid"], signal.SIGKILL)
        back = [await fleet.told(v["name"], ("instance_ready",), struck_unix_s) for v in victims]
        await asyncio.sleep(3.0)
        watching.cancel()
    first_back_s = min((at for at in back if at is not None), default=None)
    first_s = _first_answer(there.seen, struck_s)
    late = [seen for seen in there.seen if seen.failed and seen.sent_s > struck_s]
    named = sum(seen.status == 503 and "Retry-After" in seen.headers for seen in late)
    served = sum(seen.end is End.WHOLE and seen.ended_s > struck_s for seen in there.seen)
    waited_s = None if first_s is None or first_back_s is None else first_s - first_back_s
    figures = {
        "all_away_s": first_back_s,
        "answered_503_with_retry_after": named,
        "failed_otherwise": len(late) - named,
        "first_answer_after_return_s": waited_s,
        "served_afterwards": served,
        "most_in_flight_of_an_instance": max(peaks.values(), default=0),
        "slots_of_an_instance": SLOTS,
    }
    kept = named == len(late) and max(peaks.values(), default=0) <= SLOTS
    return Row("F11", "all four away", figures, within(waited_s, 1.0) and kept and served > 0)


async def _peaks(fleet: FaultFleet, peaks: dict[str, int]) -> None:
    while True:
        for row in await fleet.instances():
            peaks[row["name"]] = max(peaks.get(row["name"], 0), row["in_flight"])
        await asyncio.sleep(_LOOK_S)


def _first_answer(seen: list[Seen], since_s: float) -> float | None:
    """When the first byte came of an answer asked for after that moment, counted from it."""
    firsts = [
        each.first_s - since_s
        for each in seen
        if each.sent_s > since_s and each.first_s is not None and not each.failed
    ]
    return min(firsts, default=None)
