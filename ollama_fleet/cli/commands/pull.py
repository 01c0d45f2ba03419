"""`fleet pull`: download models for the whole fleet."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from ollama_fleet.cli.control import Control, Document, running
from ollama_fleet.cli.options import Command, Options, pass_options
from ollama_fleet.cli.printing import SCHEMA_VERSION, note
from ollama_fleet.errors import Exit

Reporter = Callable[[str, Document], None]  # takes a model and one of Ollama's progress records


@click.command("pull", cls=Command)
@click.argument("models", nargs=-1, required=True, metavar="MODEL…")
@click.option("--insecure", is_flag=True, help="Allow a registry without TLS.")
@pass_options
def command(options: Options, models: tuple[str, ...], insecure: bool) -> int:
    """Download models for the whole fleet, one after another.

    One instance downloads, and all that share its store have the model. On a terminal there is a
    bar for each layer; elsewhere each progress record is a line of JSON. The exit code is 1 if a
    model could not be had; the others are downloaded nevertheless.
    """
    control = running()
    failed: dict[str, str] = {}
    try:
        with _reporter(options) as report:
            for model in models:
                error = _pull(control, model, report, insecure=insecure)
                if error:
                    failed[model] = error
    except KeyboardInterrupt:
        note(options, "\ncancelled; what was downloaded is kept, the next pull goes on from there")
        raise
    for model, error in failed.items():
        click.echo(f"fleet: {model}: {error}", err=True)
    return Exit.FAILED if failed else Exit.OK


def _pull(control: Control, model: str, report: Reporter, *, insecure: bool) -> str:
    """Why it failed; empty if it did not."""
    last: Document = {}
    for last in control.pull(model, insecure=insecure):
        report(model, last)
    if last.get("status") == "success":
        return ""
    return str(last.get("error") or "the fleet ended before the download did")


@contextmanager
def _reporter(options: Options) -> Iterator[Reporter]:
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
