"""`scripts/bench vram [--quick] [-o table|json|markdown]`: predicted memory against allocated."""

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ollama_fleet.bench.sync.ollamas import Program
from ollama_fleet.bench.vram import files
from ollama_fleet.bench.vram.models import MODELS
from ollama_fleet.bench.vram.row import HEADINGS, Row
from ollama_fleet.bench.vram.trial import trial
from ollama_fleet.errors import FleetError
from ollama_fleet.vram import FlashAttention, Use, need, shape_of

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001 - it has no public name

_CONTEXTS: Final = (2048, 8192, 32_768)
_AUTO, _ON, _OFF = FlashAttention.AUTO, FlashAttention.ON, FlashAttention.OFF
USES: Final[Sequence[Use]] = (
    Use(num_parallel=1, flash_attention=_AUTO, gpus=0),
    Use(num_parallel=1, flash_attention=_OFF, gpus=0),
    Use(num_parallel=4, flash_attention=_AUTO, gpus=0),
    Use(num_parallel=4, flash_attention=_OFF, gpus=0),
    Use(num_parallel=2, flash_attention=_ON, cache_type="q8_0", gpus=0),
    Use(num_parallel=4, flash_attention=_ON, cache_type="q4_0", gpus=0),
)
QUICK: Final = (USES[0], USES[4])


def add_to(benchmarks: "Subparsers") -> None:
    """Add the subcommand; its `run` takes the arguments and returns an exit code."""
    parser = benchmarks.add_parser("vram", help="predicted memory of models against allocated")
    parser.add_argument("--quick", action="store_true", help="one context, two kinds of settings")
    parser.add_argument("--model", action="append", choices=list(MODELS), default=[])
    parser.add_argument("-o", "--output", choices=("table", "json", "markdown"), default="table")
    parser.set_defaults(run=main)


def main(arguments: argparse.Namespace) -> int:
    """Compare and print; 1 if a prediction is off by more than the tolerance."""
    named = os.environ.get("OLLAMA_BIN")
    if not named:
        sys.stderr.write("scripts/bench vram: name a real Ollama by OLLAMA_BIN\n")
        return 2
    models = arguments.model or list(MODELS)
    program = Program(Path(named).absolute(), real=True, environ={})
    rows, whole = asyncio.run(_all(program, models, quick=arguments.quick))
    if arguments.output == "json":
        report = {"schema_version": 1, "vram": [row.as_dict() for row in rows]}
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
    else:
        sys.stderr.write(f"{summary(rows)}\n")
        sys.stdout.write(_shown(rows, markdown=arguments.output == "markdown") + "\n")
    return int(not (whole and all(row.holds for row in rows)))


async def compared(
    program: Program,
    folder: Path,
    models: Sequence[str],
    uses: Sequence[Use],
    contexts: Sequence[int],
) -> AsyncIterator[Row]:
    """One row for each model in each context under each setting. Raises FleetError."""
    store = folder / "models"
    made = {name: MODELS[name]() for name in models}
    files.store(store, list(made.values()))
    shapes = {name: shape_of(files.head(model)) for name, model in made.items()}
    homes = [folder / f"home-{number}" for number, _ in enumerate(uses)]
    for home in homes:
        home.mkdir()
    for home, use in zip(homes, uses, strict=True):
        async with trial(program, home, store, use) as running:
            for name in models:
                for context_length in contexts:
                    embeds = shapes[name].embeds
                    measured = await running.load(name, context_length, embeds=embeds)
                    asked = replace(running.use, context_length=context_length)
                    yield Row(name, need(shapes[name], asked), measured)


async def _all(program: Program, models: Sequence[str], *, quick: bool) -> tuple[list[Row], bool]:
    """The rows as far as they were come by, and whether those are all."""
    uses, contexts = (QUICK, _CONTEXTS[1:2]) if quick else (USES, _CONTEXTS)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="fleet-bench-") as folder:
        try:
            async for row in compared(program, Path(folder), models, uses, contexts):
                sys.stderr.write(f"{' '.join(row.cells)}\n")
                rows.append(row)
        except FleetError as error:
            sys.stderr.write(f"{error.reason}\n")
            return rows, False
    return rows, True


def summary(rows: Sequence[Row]) -> str:
    """How far off the predictions are at most, to either side."""
    errors = [row.error for row in rows]
    least, most = min(errors, default=0.0), max(errors, default=0.0)
    return f"{len(rows)} comparisons: {100 * least:+.2f} % to {100 * most:+.2f} %"


def _shown(rows: Sequence[Row], *, markdown: bool) -> str:
    lines = [HEADINGS, *(row.cells for row in rows)]
    if markdown:
        rule = tuple("---" for _ in HEADINGS)
        return "\n".join(f"| {' | '.join(line)} |" for line in (lines[0], rule, *lines[1:]))
    widths = [max(len(line[at]) for line in lines) for at in range(len(HEADINGS))]
    padded = (
        [cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines
    )
    return "\n".join("  ".join(cells).rstrip() for cells in padded)
