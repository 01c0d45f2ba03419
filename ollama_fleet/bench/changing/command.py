"""`scripts/soak changes`: each row on a fleet that is started for it."""

import argparse
import os
from collections.abc import Iterator, Sequence
from typing import Final

import uvloop

from ollama_fleet.bench.changing.fleet import changed_fleet
from ollama_fleet.bench.changing.rows import killed, reloaded, terminated, upgraded
from ollama_fleet.bench.faults.row import Row
from ollama_fleet.bench.options import some_of

NAMES: Final = ("upgrade", "F13", "F14", "F16")
_UNDER_LOAD: Final = {"upgrade": upgraded, "F14": terminated, "F16": reloaded}


def rows(names: Sequence[str], *, streams: int, times: int) -> Iterator[Row]:
    """Each row as it is measured. Raises FleetError if a fleet does not start."""
    for name in names:
        with changed_fleet(os.environ) as fleet:
            trial = _UNDER_LOAD.get(name)
            yield uvloop.run(trial(fleet, streams)) if trial else killed(fleet, times)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What may be said on the command line."""
    parser.add_argument(
        "--rows", type=some_of(NAMES), default=NAMES, metavar="F13,F16", help="which"
    )
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--times", type=int, default=50, help="kills of F13")
