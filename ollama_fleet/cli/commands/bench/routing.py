"""`fleet bench routing`: strategies beside one another, on real processes."""

import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from ollama_fleet.cli.options import Command, Options, Output, pass_options
from ollama_fleet.cli.printing import emit, note
from ollama_fleet.errors import Exit

if TYPE_CHECKING:  # the router, the replay, aiohttp
    from ollama_fleet.bench.processes.study import Played, Scale

_FAMILIES = ("constant", "poisson", "bursty", "models", "v1", "equal", "slowed", "killed")
INSTALL = "pip install 'ollama-fleet[plots]'"
WIDE = Output.WIDE
_ABOVE_ZERO = click.FloatRange(0, min_open=True)
_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command(
    "routing",
    cls=Command,
    examples={
        "fleet bench routing --quick": "whether it works, in a minute",
        "fleet bench routing --load 0.5 --load 0.8 --plots pictures": "curves of the load",
        "fleet bench routing --url http://localhost:11434 --model qwen3:8b --rate 2": "what runs",
    },
)
@click.option(
    "--scenario",
    multiple=True,
    type=click.Choice(_FAMILIES),
    help="What is asked of which fleet; constant, poisson, bursty, models, v1. May be repeated.",
)
@click.option(
    "--load",
    multiple=True,
    type=_ABOVE_ZERO,
    metavar="SHARE",
    help="The rate as a share of what the fleet can do. May be repeated: curves of the load.",
)
@click.option(
    "--strategy",
    multiple=True,
    metavar="NAME",
    help="Who is compared; each scenario has contenders of its own.",
)
@click.option("--requests", type=click.IntRange(10), help="Of each run; 1000 if not given.")
@click.option("--seeds", type=click.IntRange(1), help="Workloads of each scenario; 3.")
@click.option("--time-scale", type=_ABOVE_ZERO, help="Simulated seconds in a real one; 10.")
@click.option("--quick", is_flag=True, help="One seed, 120 requests, time scale 20; no verdicts.")
@click.option("--plots", type=_FOLDER, metavar="FOLDER", help="Write pictures (PNG) there.")
@click.option("--draw", is_flag=True, help="Draw the curves as text.")
@click.option("--url", metavar="URL", help="Ask the fleet that runs there, as it is.")
@click.option("--ollama", metavar="PROGRAM", help="Start fleets of this real Ollama.")
@click.option("--store", type=_FOLDER, metavar="FOLDER", help="The models of --ollama.")
@click.option("--cpus", multiple=True, metavar="LIST", help="An instance of it, on CPUs 0,2-3.")
@click.option("--slots", type=click.IntRange(1), default=2, help="Of each such instance; 2.")
@click.option("--model", metavar="NAME", help="What is asked of --url or --ollama.")
@click.option("--rate", type=_ABOVE_ZERO, metavar="N", help="Requests per second to them.")
@click.option(
    "--shorter",
    type=click.FloatRange(1),
    default=1.0,
    metavar="N",
    help="Prompts and answers for them N times as short.",
)
@pass_options
def command(options: Options, **asked: Any) -> int:
    """Send the same requests to fleets that differ in their strategy only, and compare.

    Each run has a fleet of its own: simulated Ollamas in processes, or with --ollama real ones;
    with --url it is one that runs already. Requests leave at their times whatever becomes of the
    answers. Times are in simulated seconds. Exit code 1 if a target is missed or a request lost.
    """
    from ollama_fleet.bench.processes import figures, study
    from ollama_fleet.cli.commands.bench import asking, showing

    asking.check(asked)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    scale, sought = asking.scale(asked), asking.sought(asked)
    turns = study.turns(sought.cases, scale.seeds, sought.strategies)
    note(options, showing.announced(len(turns), scale, study.expected_s(turns, scale)))
    played: list[Played] = []
    for each in study.played(turns, scale, sought.opening):
        played.append(each)
        note(options, showing.told(each, scale))
    found = figures.standings(played, scale, judge=showing.is_enough(scale))
    written = _pictures(options, played, scale, asked["plots"])
    draw = asked["draw"] or not written
    emit(
        options,
        showing.document(found, scale),
        lambda: showing.text(found, played if draw else (), scale, wide=options.output is WIDE),
    )
    return Exit.FAILED if any(showing.fails(standing) for standing in found) else Exit.OK


def _end(number: int, _frame: FrameType | None) -> None:
    """TERM and HUP leave as an exception, so that the fleet of a run is stopped on the way."""
    sys.exit(128 + number)


def _pictures(
    options: Options, played: "Sequence[Played]", scale: "Scale", folder: Path | None
) -> bool:
    """Write pictures if they are wanted; whether everything that is wanted was written."""
    from ollama_fleet.bench.processes import pictures

    if folder is None:
        return True
    if not pictures.available():
        note(options, f"no pictures without matplotlib: {INSTALL}; here they are as text")
        return False
    for path in pictures.write(played, scale, folder):
        note(options, f"written: {path}")
    return True
