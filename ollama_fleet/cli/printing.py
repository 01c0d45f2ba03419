"""What goes to stdout in the form that was asked for, and notes for people on stderr."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import click

from ollama_fleet.cli.options import Options, Output

SCHEMA_VERSION = 1


def emit(options: Options, document: Mapping[str, Any], show: Callable[[], str]) -> None:
    """Print a document as JSON or YAML, or what `show` makes of it for people."""
    if options.quiet:
        return
    if options.for_machines:
        print_document(options, document)
    else:
        click.echo(show())


def print_document(options: Options, document: Mapping[str, Any]) -> None:
    """Print a document as JSON or YAML, with the version of its shape."""
    versioned = {"schema_version": SCHEMA_VERSION, **document}
    if options.output is Output.YAML:
        import yaml

        text = yaml.safe_dump(versioned, sort_keys=False, allow_unicode=True, width=100)
        click.echo(text, nl=False)
    else:
        click.echo(json.dumps(versioned, indent=2, ensure_ascii=False))


def note(options: Options, text: str) -> None:
    """Tell how things go, on stderr."""
    if not options.quiet:
        click.echo(text, err=True)


def may_colour() -> bool:
    """Whether a terminal may be written to in colours."""
    return click.get_current_context().color is not False
