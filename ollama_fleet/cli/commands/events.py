"""`fleet events`: what has happened to the fleet."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, Final

import click

from ollama_fleet.cli.completing import instance_names
from ollama_fleet.cli.control import running
from ollama_fleet.cli.options import Command, Options, pass_options
from ollama_fleet.cli.printing import note, record_text
from ollama_fleet.cli.table import clean
from ollama_fleet.cli.waiting import Duration
from ollama_fleet.directories import Directories
from ollama_fleet.errors import NotRunning, nothing_called

_COLOURS: Final = {"warning": "yellow", "error": "red"}
_KIND_WIDTH: Final = 22


def kind_names(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """The kinds of events that begin with what is there."""
    from ollama_fleet.state.events import Kind

    return [kind for kind in Kind if kind.startswith(incomplete)]


class KindName(click.ParamType[str]):
    """A kind of event; one that is not there is refused with the one that comes nearest."""

    name = "kind"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """Let it be, or fail with what may have been meant."""
        from ollama_fleet.state.events import Kind

        if value not in set(Kind):
            error = nothing_called("kind of event", [str(value)], Kind, "docs/events.md lists them")
            self.fail(error.told, param, ctx)
        return str(value)


@click.command(
    "events",
    cls=Command,
    examples={
        "fleet events -f": "as they happen",
        "fleet events --since 1h --instance gpu-0": "what has happened to one instance",
        "fleet events -o json | jq -r .kind | sort | uniq -c": "how often each kind",
    },
)
@click.option("-f", "--follow", is_flag=True, help="Go on with what happens from now on.")
@click.option("--since", type=Duration(), metavar="DURATION", help="Only the last 10m, 2h, …")
@click.option("--tail", type=click.IntRange(0, 3000), default=100, metavar="N", help="The last N.")
@click.option("--kind", type=KindName(), multiple=True, metavar="KIND", shell_complete=kind_names,
              help="Only this kind; may be given several times.")  # fmt: skip
@click.option("--instance", multiple=True, metavar="INSTANCE", shell_complete=instance_names,
              help="Only this instance; likewise.")  # fmt: skip
@pass_options
def command(
    options: Options, follow: bool, since: float | None, tail: int, **only: tuple[str, ...]
) -> None:
    """Print what has happened to the fleet, the latest last: exits, loads, pulls, anomalies.

    Those of earlier fleets on the same state directory are there, too; where no fleet is running
    they are read from its file. docs/events.md says what each kind means and what to do.
    """
    since_s = 0.0 if since is None else time.time() - since
    wanted = {"limit": tail, "since": since_s, **only}
    for event in running().follow_events(wanted) if follow else _told(options, wanted):
        if not options.quiet:
            click.echo(record_text(options, event) if options.for_machines else show(event))


def _told(options: Options, wanted: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """What the fleet tells; where none is running, what the last one has left."""
    try:
        return running().events(wanted)
    except NotRunning:
        path = Directories.find(os.environ).events
        if not path.exists():
            raise
        note(options, "no fleet is running: this is what the last one has kept")
        return kept(path.read_bytes(), wanted)


def kept(lines: bytes, wanted: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The events of a file that are wanted, as the fleet would choose them."""
    from ollama_fleet.state.events import Choice, decoded

    choice = Choice(wanted["kind"], wanted["instance"], wanted["since"])
    found = [asdict(event) for event in decoded(lines) if choice.has(event)]
    return found[-wanted["limit"] :] if wanted["limit"] else []


def show(event: Mapping[str, Any]) -> str:
    """An event on a line: when, its kind in the colour of its severity, what it is about, what."""
    when = datetime.fromtimestamp(event["unix_s"], UTC).astimezone()
    about = " ".join(clean(event[name]) for name in ("instance", "model") if event[name])
    kind = click.style(event["kind"].ljust(_KIND_WIDTH), fg=_COLOURS.get(event["severity"]))
    text = clean(event["text"])
    return f"{when:%Y-%m-%d %H:%M:%S}  {kind}  {f'{about}: {text}' if about else text}"
