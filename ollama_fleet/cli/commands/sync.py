"""`fleet sync`: make every store hold the same models."""

import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
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

_NOTHING: Document = {"damaged": {}, "errors": ()}
_COLUMNS = (
    Column("MODEL"),
    Column("TO"),
    Column("HOW"),
    Column("FROM"),
    Column("SIZE", number=True),
)


@click.command(
    "sync",
    cls=Command,
    examples={
        "fleet sync --dry-run": "what would be done",
        "fleet sync": "what fleet.yaml declares, everywhere",
        "fleet sync --from gpu-0 qwen3:8b": "the version that gpu-0 has, everywhere",
        "fleet sync --prune --verify --yes": "nothing else, and every blob hashed",
    },
)
@click.argument("models", nargs=-1, metavar="[MODEL]…", shell_complete=model_names)
@click.option(
    "--from",
    "origin",
    default="",
    metavar="INSTANCE",
    help="What this instance has is what all are to have, in its version.",
    shell_complete=place_names,
)
@click.option("--dry-run", is_flag=True, help="Print the plan only; with -o json as a document.")
@click.option(
    "--prune",
    is_flag=True,
    help="Remove models from our stores that nobody names or declares, after asking. What no model "
    "needs, `fleet prune` removes.",
)
@click.option("--verify", is_flag=True, help="Hash all blobs before; replace damaged ones.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_options
def command(
    options: Options,
    models: tuple[str, ...],
    *,
    origin: str,
    dry_run: bool,
    prune: bool,
    verify: bool,
    yes: bool,
) -> int:
    """Make every store hold the models that fleet.yaml declares, or those that are named.

    Each comes from where it is already: by link on the same disk, by copy from another, to another
    machine over the network; what nobody has is downloaded once. Damaged models are mended; with
    --verify so are those of whose blobs the content has changed. The exit code is 1 if one could
    not be had somewhere; the others are there nevertheless.
    """
    control = running()
    found = _verified(options, control.verify_sync(models, origin=origin)) if verify else _NOTHING
    plan = control.plan_sync(models, origin=origin, prune=prune, damaged=found["damaged"])
    if dry_run or options.for_machines:
        emit(options, plan, lambda: describe(plan))
    elif not options.quiet:
        click.echo(describe(plan), err=True)
    if dry_run:
        return Exit.FAILED if plan["problems"] or found["errors"] else Exit.OK
    if plan["problems"]:
        raise FleetError("; ".join(map(str, plan["problems"])))
    if plan["removals"] and not yes:
        _ask(plan["removals"])
    remove, damaged = plan["removals"], plan["damaged"]
    synced = control.sync(models, origin=origin, remove=remove, damaged=damaged)
    failed = _carried_out(options, synced)
    return Exit.FAILED if failed or found["errors"] else Exit.OK


def _carried_out(options: Options, records: Iterable[Document]) -> bool:
    """Show the records of a sync, and at the end what has failed; whether anything has."""
    failed = []
    with reporter(options) as report:
        for record in records:
            report(str(record["model"]), record)
            if "error" in record:
                failed.append(record)
    for record in failed:
        click.echo(f"fleet: {clean(str(record['model']))}: {clean(str(record['error']))}", err=True)
    return bool(failed)


def _verified(options: Options, records: Iterable[Document]) -> Document:
    """Show people the records of a verification; the last.

    Raises FleetError where it has not ended.
    """
    last: Document = {}
    with nullcontext() if options.for_machines else reporter(options) as report:
        for last in records:
            if report is not None and "damaged" not in last:
                report(str(last["model"]), last)
    if "damaged" not in last:
        raise FleetError("the fleet ended before all was verified")
    for line in last["errors"]:
        click.echo(f"fleet: {clean(str(line))}", err=True)
    return last


def describe(plan: Document) -> str:
    """The plan as a table, and below it what is to be removed and what is odd."""
    lines = [f"conflict: {clean(text)}" for text in plan["conflicts"]]
    lines += [f"problem: {clean(text)}" for text in plan["problems"]]
    lines += [
        f"remove from {clean(store)}: {', '.join(map(clean, names))}"
        for store, names in plan["removals"].items()
    ]
    lines += [
        f"damaged in {clean(store)}: {', '.join(clean(digest)[7:19] for digest in digests)}"
        for store, digests in plan["damaged"].items()
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
            f"{count} models would be removed; say --yes where nobody can answer"
        )
    click.confirm(f"Remove {count} models?", abort=True, err=True)
