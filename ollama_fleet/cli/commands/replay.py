"""`fleet replay`: what another strategy, or one more GPU, would have made of the same requests."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ollama_fleet.cli.options import Command, Options, Output, pass_options
from ollama_fleet.cli.printing import emit, note
from ollama_fleet.cli.table import Column, table
from ollama_fleet.directories import Directories
from ollama_fleet.errors import FleetError

if TYPE_CHECKING:  # the router, the estimates
    from ollama_fleet.history import RequestRecord
    from ollama_fleet.replay.job import Job
    from ollama_fleet.replay.layout import Layout
    from ollama_fleet.replay.study import Result

_COLUMNS = (
    Column("INSTANCES"),
    Column("STRATEGY"),
    Column("REQUESTS", number=True),
    Column("MEAN S", number=True),
    Column("P50 S", number=True),
    Column("P99 S", number=True),
    Column("TTFT S", number=True),
    Column("TOKENS/S", number=True),
    Column("LOADS", number=True),
)
_COMPARED = ("adaptive", "least_conn")  # unless others are asked for
_USUAL_LOAD = 0.8
_MANY = 10_000_000  # records of the history: all of them


@click.command(
    "replay",
    cls=Command,
    examples={
        "fleet replay": "made-up requests on a simulated box",
        "fleet replay --from-history --add-gpu gpu-0": "what another GPU would have saved",
        "fleet replay --trace trace.csv --layout 8xH100": "your trace on another box",
    },
)
@click.option("--from-history", is_flag=True, help="The requests that this fleet has served.")
@click.option(
    "--trace",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The requests of a CSV file: time, model, prompt and output tokens.",
)
@click.option("--model", help="The model of a trace that names none, or of made-up requests.")
@click.option("--requests", type=click.IntRange(1), default=4000, help="How many to make up; 4000.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Requests per second.")
@click.option(
    "--load",
    type=click.FloatRange(0, min_open=True),
    help="The rate as a share of what the fleet can do; 0.8 for made-up requests.",
)
@click.option(
    "--arrivals",
    type=click.Choice(["constant", "poisson", "bursty"]),
    default="poisson",
    help="How made-up requests come.",
)
@click.option(
    "--layout",
    metavar="NAME|FILE",
    help="The fleet: a simulated box; the fleet of the history if not given, or 4-mixed.",
)
@click.option(
    "--add-gpu", multiple=True, metavar="INSTANCE", help="Compare with one more instance like that."
)
@click.option(
    "--strategy", multiple=True, metavar="NAME", help="Strategies to compare; adaptive, least_conn."
)
@click.option("--seed", type=int, default=1, help="Of what is drawn; 1 if not given.")
@pass_options
def command(options: Options, **asked: Any) -> None:
    """Play requests again on virtual time: with another strategy, or with one more GPU.

    The router's own code decides, on simulated instances; hours take seconds, and nothing is sent
    anywhere. Requests are made up unless --from-history or --trace says where they come from. With
    --from-history the instances are as fast as the history shows them.
    """
    if asked["from_history"] and asked["trace"] is not None:
        raise click.UsageError("--from-history and --trace are two different sets of requests")
    from ollama_fleet.fleet.process import leave_out_what_stays
    from ollama_fleet.replay import study

    records = _history() if asked["from_history"] else ()
    layout = study.layout(asked["layout"], records)
    jobs = _jobs(layout, records, asked)
    layouts = [layout]
    if asked["add_gpu"]:
        layouts.append(study.with_more(layout, asked["add_gpu"]))
    leave_out_what_stays()
    results = []
    for each in layouts:
        for name in asked["strategy"] or _COMPARED:
            note(options, f"{name} on {len(each.hosts)} instances …")
            results.append(study.result(each, jobs, name, asked["seed"]))
    emit(options, _document(results), lambda: _show(results, wide=options.output is Output.WIDE))


def _history() -> "Sequence[RequestRecord]":
    from ollama_fleet import history

    path = Directories.find(os.environ).history
    records = history.recent(path, _MANY)
    if not records:
        raise FleetError("no request has been recorded yet", f"the history is {path}")
    return records


def _jobs(
    layout: "Layout", records: "Sequence[RequestRecord]", asked: Mapping[str, Any]
) -> "Sequence[Job]":
    from ollama_fleet.replay import study, traces

    model, trace = asked["model"] or layout.models[0].name, asked["trace"]
    if records or trace is not None:
        jobs = traces.from_history(records) if trace is None else traces.read_trace(trace, model)
        return study.paced(jobs, layout, asked["rate"], asked["load"])
    return study.made_up(
        layout,
        model,
        number=asked["requests"],
        arrivals=asked["arrivals"],
        rate_per_s=asked["rate"],
        load=asked["load"] or _USUAL_LOAD,
        seed=asked["seed"],
    )


def _document(results: "Sequence[Result]") -> dict[str, Any]:
    return {"replays": [result.document() for result in results]}


def _show(results: "Sequence[Result]", *, wide: bool) -> str:
    parts = [table(_COLUMNS, [_row(result) for result in results])]
    if wide:
        parts += [
            f"{len(result.instances)} instances, {result.strategy}: "
            + ", ".join(f"{name} {share:.1%}" for name, share in result.summary.shares.items())
            for result in results
        ]
    return "\n".join(parts)


def _row(result: "Result") -> tuple[object, ...]:
    summary = result.summary
    times_s = (summary.mean_s, summary.p50_s, summary.p99_s, summary.ttft_mean_s)
    return (
        len(result.instances),
        result.strategy,
        summary.requests,
        *(f"{time_s:.2f}" for time_s in times_s),
        f"{summary.tokens_per_s:.0f}",
        summary.cold_loads,
    )
