"""`fleet explain`: why a request took as long as it did."""

import sys

import click

from ollama_fleet.cli.explaining import show_explanation
from ollama_fleet.cli.options import Command, Options, pass_options
from ollama_fleet.cli.past import explanation
from ollama_fleet.cli.printing import emit


@click.command(
    "explain",
    cls=Command,
    examples={
        "fleet explain last": "why the last request took as long as it did",
        "fleet explain slowest": "and the slowest of all",
    },
)
@click.argument("request_id", metavar="REQUEST")
@pass_options
def command(options: Options, request_id: str) -> None:
    """Tell why a request took as long as it did: its main cause, and where its seconds went.

    REQUEST is its id, which answers carry as X-Request-Id, or the beginning of one that no other
    begins with; `last` is the one that ended last, `slowest` the one that took longest.
    """
    told = explanation(options, request_id)
    plain = "utf" not in (sys.stdout.encoding or "").lower()
    emit(options, told, lambda: show_explanation(told, block="#" if plain else "█"))
