"""`fleet sync`: make every store hold the same models."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import click

from ollama_fleet.cli.commands.pull import reporter
from ollama_fleet.cli.completing import model_names, place_names
from ollama_fleet.cli.control import Document, running
from ollama_fleet.cli.options import Command, Options, pass_options
from ollama_fleet.cli.printing import emit
from ollama_fleet.cli.table import Column, clean, table
from ollama_fleet.errors import Exit, FleetError
from ollama_fleet.units import show_bytes

_COLUMNS = (
    Column("MODEL"),
    Column("TO"),
    Column("HOW"),
    Column("FROM"),
    Column("SIZE", number=True),
)


@click.command("sync", cls=Command)
@click.argument("models", nargs=-1, metavar="[MODEL]…", shell_complete=model_names)
@click.option(
    "--from",
    "origin",
    default="",
    metavar="INSTANCE",
    help="What this instance has is what all are to have.",
    shell_complete=place_names,
)
@click.option("--dry-run", is_flag=True, help="Print the plan only.")
@click.option("--prune", is_flag=True, help="Remove what nobody names or declares, after asking.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_options
def command(
    options: Options,
    models: tuple[str, ...],
    *,
    origin: str,
    dry_run: bool,
    prune: bool,
    yes: bool,
) -> int:
    """Make every store hold the models that fleet.yaml declares, or those that are named.

    Each comes from where it is already: by link on the same disk, by copy from another, to another
    machine over the network; what nobody has is downloaded once. The exit code is 1 if one could
    not be had somewhere; the others are there nevertheless.
    """
    control = running()
    plan = control.plan_sync(models, origin=origin, prune=prune)
    if dry_run or options.for_machines:
        emit(options, plan, lambda: describe(plan))
        if dry_run:
            return Exit.FAILED if plan["problems"] else Exit.OK
    elif not options.quiet:
        click.echo(describe(plan), err=True)
    if plan["problems"]:
        raise FleetError("; ".join(map(str, plan["problems"])))
    if plan["removals"] and not yes:
        _ask(plan["removals"])
    failed = []
    with reporter(options) as report:
        for record in control.sync(models, origin=origin, remove=plan["removals"]):
            report(str(record["model"]), record)
            if "error" in record:
                failed.append(record)
    for record in failed:
        click.echo(f"fleet: {clean(str(record['model']))}: {clean(str(record['error']))}", err=True)
    return Exit.FAILED if failed else Exit.OK


def describe(plan: Document) -> str:
    """The plan as a table, and below it what is to be removed and what is odd."""
    lines = [f"conflict: {clean(text)}" for text in plan["conflicts"]]
    lines += [f"problem: {clean(text)}" for text in plan["problems"]]
    lines += [
        f"remove from {clean(store)}: {', '.join(map(clean, names))}"
        for store, names in plan["removals"].items()
    ]
    if plan["steps"]:
        lines.insert(0, table(_COLUMNS, [_row(step) for step in plan["steps"]]))
    return "\n".join(lines) or "every store has them all"


def _row(step: Mapping[str, Any]) -> Sequence[object]:
    size = "?" if step["size_bytes"] is None else show_bytes(step["size_bytes"])
    return step["model"], step["target"], step["how"], step["source"] or "its registry", size


def _ask(removals: Mapping[str, Sequence[str]]) -> None:
    count = sum(map(len, removals.values()))
    if not sys.stdin.isatty():
        raise click.UsageError(
            f"{count} models would be removed: say --yes where nobody can answer"
        )
    click.confirm(f"Remove {count} models?", abort=True, err=True)
