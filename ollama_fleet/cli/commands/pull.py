"""`fleet pull`: download models for the whole fleet."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import click

from ollama_fleet.cli.completing import place_names
from ollama_fleet.cli.control import Control, Document, running
from ollama_fleet.cli.options import Command, Options, pass_options
from ollama_fleet.cli.printing import SCHEMA_VERSION, note
from ollama_fleet.cli.steps import places
from ollama_fleet.errors import Exit

Reporter = Callable[[str, Document], None]  # takes a model and one of Ollama's progress records


@click.command("pull", cls=Command)
@click.argument("models", nargs=-1, required=True, metavar="MODEL…")
@click.option("--insecure", is_flag=True, help="Allow a registry without TLS.")
@click.option(
    "--to",
    multiple=True,
    metavar="INSTANCE|GROUP",
    help="Only for these; may be given several times.",
    shell_complete=place_names,
)
@pass_options
def command(options: Options, models: tuple[str, ...], insecure: bool, to: tuple[str, ...]) -> int:
    """Download models for the whole fleet, one after another.

    One store downloads, the others get it from there: by link on the same disk, by copy on another,
    over the network on another machine. On a terminal there is a bar for each layer and target;
    elsewhere each progress record is a line of JSON. The exit code is 1 if some instance has not
    got a model; the others have it nevertheless.
    """
    control = running()
    failed: dict[str, str] = {}
    try:
        with reporter(options) as report:
            for model in models:
                error = _pull(control, model, report, insecure=insecure, to=places(to))
                if error:
                    failed[model] = error
    except KeyboardInterrupt:
        note(options, "\ncancelled; what was downloaded is kept, the next pull goes on from there")
        raise
    for model, error in failed.items():
        click.echo(f"fleet: {model}: {error}", err=True)
    return Exit.FAILED if failed else Exit.OK


def _pull(
    control: Control, model: str, report: Reporter, *, insecure: bool, to: Sequence[str]
) -> str:
    """Why it failed; empty if it did not."""
    last: Document = {}
    for last in control.pull(model, insecure=insecure, to=to):
        report(model, last)
    if last.get("status") == "success":
        return ""
    return str(last.get("error") or "the fleet ended before the download did")


@contextmanager
def reporter(options: Options) -> Iterator[Reporter]:
    """Show progress records: as bars on a terminal, as lines of JSON elsewhere."""
    if options.quiet:
        yield lambda _model, _record: None
    elif options.for_machines or not sys.stdout.isatty():
        yield _print_line
    else:
        from ollama_fleet.cli.bars import bars

        with bars() as report:
            yield report


def _print_line(model: str, record: Document) -> None:
    click.echo(json.dumps({"schema_version": SCHEMA_VERSION, "model": model, **record}))
