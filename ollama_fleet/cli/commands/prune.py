"""`fleet prune`: remove from our stores what no model needs."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

from ollama_fleet.cli.completing import place_names
from ollama_fleet.cli.control import Document, running
from ollama_fleet.cli.options import Command, Options, pass_options
from ollama_fleet.cli.printing import emit
from ollama_fleet.cli.steps import places
from ollama_fleet.cli.table import Column, clean, table
from ollama_fleet.cli.waiting import Duration
from ollama_fleet.errors import Exit
from ollama_fleet.units import show_bytes

_COLUMNS: Final = (
    Column("STORE"),
    Column("INSTANCES"),
    Column("BLOBS", number=True),
    Column("PARTIALS", number=True),
    Column("SIZE", number=True),
)


@click.command(
    "prune",
    cls=Command,
    examples={
        "fleet prune --dry-run": "what could go, and how many bytes",
        "fleet prune": "from every store of ours, after a question",
        "fleet prune --to gpu-0 --older 168h --yes": "from one store, what is a week old",
    },
)
@click.option(
    "--to",
    multiple=True,
    metavar="STORE|INSTANCE|GROUP",
    help="Only these stores, or those of these; may be given several times, or with commas.",
    shell_complete=place_names,
)
@click.option(
    "--older",
    type=Duration(),
    default="1h",
    show_default=True,
    metavar="AGE",
    help="Only what nobody has touched for so long.",
)
@click.option("--dry-run", is_flag=True, help="Print what could go, and remove nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_options
def command(
    options: Options, to: tuple[str, ...], *, older: float, dry_run: bool, yes: bool
) -> int:
    """Remove from our stores what no model needs.

    That is the weights that a pull or a create has replaced, what was uploaded for a create that
    never came, and downloads and copies that nobody goes on with. What a model names is never
    removed, nor what an instance has in memory; nothing in stores of instances elsewhere. The exit
    code is 1 if nothing could be told of a store, or done there.
    """
    control = running()
    plan = control.plan_prune(places(to), older_s=older)
    going = {shed["store"]: shed["files"] for shed in _ready(plan)}
    if dry_run or not going:
        emit(options, plan, lambda: describe(plan))
        return _told_problems(plan)
    if not (options.quiet or options.for_machines):
        click.echo(describe(plan), err=True)
    if not yes:
        _ask(plan)
    done = control.prune(going, older_s=older)
    emit(options, done, lambda: _summary(done))
    return max(_told_problems({"stores": _left_out(plan)}), _told_problems(done))


def describe(plan: Document) -> str:
    """What could go from each store, and what that makes free."""
    rows = [
        (shed["store"], ", ".join(shed["instances"]), shed["blobs"], shed["partials"], _size(shed))
        for shed in plan["stores"]
    ]
    lines = [table(_COLUMNS, rows)] if rows else ["there is no store of ours"]
    total_bytes = sum(shed["size_bytes"] for shed in plan["stores"])
    if plan["freed_bytes"] < total_bytes:
        lines.append(
            f"{show_bytes(plan['freed_bytes'])} of it becomes free: the rest are links to files"
            " that are kept elsewhere"
        )
    lines += [
        f"{clean(shed['store'])}: {show_bytes(shed['waiting_bytes'])} of replaced weights are still"
        " in memory, and can go when they are not"
        for shed in plan["stores"]
        if shed["waiting_bytes"]
    ]
    return "\n".join(lines)


def _summary(done: Document) -> str:
    lines = [
        f"removed {show_bytes(shed['size_bytes'])} from {clean(shed['store'])}"
        for shed in done["stores"]
        if not shed["error"]
    ]
    return "\n".join([*lines, f"{show_bytes(done['freed_bytes'])} became free"])


def _ready(plan: Document) -> list[Mapping[str, Any]]:
    return [shed for shed in plan["stores"] if shed["files"] and not shed["problem"]]


def _left_out(plan: Document) -> list[Mapping[str, Any]]:
    return [shed for shed in plan["stores"] if shed["problem"]]


def _told_problems(document: Document) -> int:
    """Say on stderr what stands in the way; the exit code."""
    found = [(shed["store"], shed["problem"] or shed["error"]) for shed in document["stores"]]
    troubles = [f"fleet: {clean(store)}: {clean(why)}" for store, why in found if why]
    for line in troubles:
        click.echo(line, err=True)
    return Exit.FAILED if troubles else Exit.OK


def _size(shed: Mapping[str, Any]) -> str:
    return show_bytes(shed["size_bytes"]) if shed["size_bytes"] else ""


def _ask(plan: Document) -> None:
    sheds: Sequence[Mapping[str, Any]] = _ready(plan)
    size = show_bytes(sum(shed["size_bytes"] for shed in sheds))
    if not sys.stdin.isatty():
        raise click.UsageError(f"{size} would be removed: say --yes where nobody can answer")
    stores = "1 store" if len(sheds) == 1 else f"{len(sheds)} stores"
    click.confirm(f"Remove {size} from {stores}?", abort=True, err=True)
