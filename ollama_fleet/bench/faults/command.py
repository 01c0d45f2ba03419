"""`scripts/soak faults`: all rows, one after another, on fleets that are started for them."""

import argparse
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final

import uvloop

from ollama_fleet.bench.demo.fleet import TemporaryFleet
from ollama_fleet.bench.faults.answers import cut, refused, silent
from ollama_fleet.bench.faults.deaths import killed, killed_again_and_again, stopped
from ollama_fleet.bench.faults.fleet import FaultFleet, fault_fleet, hands_on
from ollama_fleet.bench.faults.outage import AWAY_S, outage
from ollama_fleet.bench.faults.row import Row
from ollama_fleet.bench.options import some_of

Trial = Callable[[FaultFleet], Awaitable[Row]]

KILLING_S: Final = 120.0  # the length of F2
_SHARED: Final[Mapping[str, Trial]] = {
    "F1": killed,
    "F3": stopped,
    "F4": silent,
    "F5": cut,
    "F6": refused,
}
NAMES: Final = (*_SHARED, "F2", "F11")


def rows(names: Sequence[str], *, killing_s: float, seed: int) -> Iterator[Row]:
    """Each row as it is measured. Raises FleetError if a fleet does not start."""
    trials = dict(_SHARED)
    trials["F2"] = partial(killed_again_and_again, seconds=killing_s, seed=seed)
    shared = [trials[name] for name in trials if name in names]
    if shared:
        with fault_fleet(os.environ) as running:
            for trial in shared:
                yield uvloop.run(_row(running, trial))
    if "F11" in names:
        with fault_fleet(os.environ, f"start_delay:seconds={AWAY_S}") as running:
            yield uvloop.run(_row(running, outage))


async def _row(running: TemporaryFleet, trial: Trial) -> Row:
    async with hands_on(running) as fleet:
        row = await trial(fleet)
        await fleet.ready()
        await fleet.set_faults("")
    return row


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What may be said on the command line."""
    parser.add_argument("--rows", type=some_of(NAMES), default=NAMES, metavar="F1,F2", help="which")
    parser.add_argument("--seconds", type=float, default=KILLING_S, help="of F2")
    parser.add_argument("--seed", type=int, default=1)
