"""Answers that stop, are cut or are none, each a known number of times: F4, F5 and F6."""

import asyncio
from typing import Final

from ollama_fleet.bench.faults.clients import End, Seen, ask, new_session
from ollama_fleet.bench.faults.fleet import IDLE_S, INSTANCES, FaultFleet
from ollama_fleet.bench.faults.row import Row, within

EACH: Final = 10  # faults at each instance
_REQUESTS: Final = 200


async def _many(fleet: FaultFleet, requests: int, *, stream: bool = True) -> list[Seen]:
    async with new_session() as session:
        asked = (ask(session, fleet.url, tokens=10, stream=stream) for _ in range(requests))
        return await asyncio.gather(*asked)


async def silent(fleet: FaultFleet) -> Row:
    """F4: a head, a few tokens, and then nothing."""
    await fleet.set_faults(f"hang:after_tokens=3;times={EACH}")
    seen = await _many(fleet, _REQUESTS)
    free_s = await fleet.until(lambda rows: not any(row["in_flight"] for row in rows))
    hung = [each for each in seen if each.end is End.TOLD]
    late_s = [each.ended_s - each.last_s - IDLE_S for each in hung]
    others = sum(each.end not in (End.TOLD, End.WHOLE) for each in seen)
    figures = {
        "injected": EACH * INSTANCES,
        "ended_with_an_error_record": len(hung),
        "ended_otherwise": others,
        "late_by_s_at_most": max(late_s, default=None),
        "slots_free_after_s": free_s,
    }
    holds = len(hung) == EACH * INSTANCES and not others
    return Row("F4", "headers, then silence", figures, holds and within(free_s, 0.1))


async def cut(fleet: FaultFleet) -> Row:
    """F5: answers that are cut in their middle, in chunks and in one piece."""
    figures: dict[str, float | None] = {}
    holds = True
    for stream in (True, False):
        before = await fleet.metric("requests_total", outcome="broken")
        await fleet.set_faults(f"cut:after_tokens=3;times={EACH}")
        seen = await _many(fleet, _REQUESTS, stream=stream)
        await asyncio.sleep(0.5)  # until what has ended is counted
        counted = await fleet.metric("requests_total", outcome="broken") - before
        told = sum(each.end in (End.TOLD, End.CUT) for each in seen)
        lying = sum(each.end is End.SILENT for each in seen)
        kind = "streams" if stream else "wholes"
        figures |= {
            f"{kind}_injected": EACH * INSTANCES,
            f"{kind}_that_their_client_knew_cut": told,
            f"{kind}_counted_as_broken": int(counted),
            f"{kind}_taken_for_whole_and_not": lying,
        }
        holds &= told == counted == EACH * INSTANCES and not lying
        await fleet.ready()
    return Row("F5", "bodies that are cut", figures, holds)


async def refused(fleet: FaultFleet) -> Row:
    """F6: resets and junk before a byte, at half of the instances.

    What is lost on an idle connection is tried on a fresh one once, before it goes elsewhere.
    """
    names = [row["name"] for row in await fleet.instances()][:2]
    figures: dict[str, float | None] = {}
    holds = True
    for fault in ("reset", "cut", "junk"):
        before = await fleet.metric("retries_total")
        await fleet.set_faults(f"{fault}:after_tokens=0;times={EACH}", *names)
        seen = await _many(fleet, _REQUESTS)
        await asyncio.sleep(0.5)
        retried = await fleet.metric("retries_total") - before
        whole = sum(each.end is End.WHOLE for each in seen)
        figures |= {
            f"{fault}_injected": 2 * EACH,
            f"{fault}_tried_elsewhere": int(retried),
            f"{fault}_requests": _REQUESTS,
            f"{fault}_served": whole,
        }
        holds &= whole == _REQUESTS
        await fleet.set_faults("", *names)
        await fleet.ready()
    return Row("F6", "resets, empty replies and junk before a byte", figures, holds)
