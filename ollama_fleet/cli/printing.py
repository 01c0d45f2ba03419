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
    if options.output is Output.YAML:
        click.echo(_yaml(document), nl=False)
    else:
        click.echo(json.dumps(_versioned(document), indent=2, ensure_ascii=False))


def record_text(options: Options, record: Mapping[str, Any]) -> str:
    """One of many documents that come one after another: a line of JSON, or a document of YAML."""
    if options.output is Output.YAML:
        return f"---\n{_yaml(record)}".rstrip()
    return json.dumps(_versioned(record), ensure_ascii=False)


def _versioned(document: Mapping[str, Any]) -> dict[str, Any]:
    return {"schema_version": SCHEMA_VERSION, **document}


def _yaml(document: Mapping[str, Any]) -> str:
    import yaml

    text = yaml.safe_dump(_versioned(document), sort_keys=False, allow_unicode=True, width=100)
    return str(text)


def note(options: Options, text: str) -> None:
    """Tell how things go, on stderr."""
    if not options.quiet:
        click.echo(text, err=True)


def may_colour() -> bool:
    """Whether a terminal may be written to in colours."""
    return click.get_current_context().color is not False
