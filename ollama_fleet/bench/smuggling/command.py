"""`scripts/soak smuggling`: many cases through a fleet as shipped, in a process of its own."""

import sys
import time
from dataclasses import dataclass

from ollama_fleet.bench.cancel import fleet_over
from ollama_fleet.bench.smuggling.cases import make_case
from ollama_fleet.bench.smuggling.origin import Origin
from ollama_fleet.bench.smuggling.trial import Tally, try_case

SHOWN, ENOUGH = 5, 20  # of the cases that went wrong: told, and not worth going on after


@dataclass(frozen=True, slots=True)
class Report:
    """What a run has found. It holds if nothing was ever misread, and something was tried."""

    cases: int
    requests: int
    relayed: int
    answered_whole: int
    refused: int
    cut_short: int
    desyncs: int
    seconds: float
    holds: bool


async def smuggle(cases: int, seed: int) -> Report:
    """Try cases one after another; those that went wrong are told on stderr."""
    tally = Tally()
    async with Origin() as origin, fleet_over([origin.port]) as (port, _):
        began_s = time.monotonic()
        for number in range(cases):
            await try_case(port, origin, make_case(seed, number), tally)
            if len(tally.desyncs) >= ENOUGH:
                break
        seconds = time.monotonic() - began_s
    for wrong in tally.desyncs[:SHOWN]:
        sys.stderr.write(f"{wrong}\n")
    return Report(
        cases=tally.cases,
        requests=tally.requests,
        relayed=tally.relayed,
        answered_whole=tally.answered_whole,
        refused=tally.refused,
        cut_short=tally.cut_short,
        desyncs=len(tally.desyncs),
        seconds=round(seconds, 1),
        holds=not tally.desyncs and tally.relayed > 0,
    )
