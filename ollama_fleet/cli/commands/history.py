"""`fleet history`: the requests that have ended."""

from typing import Any

import click

from ollama_fleet.cli.ended import as_csv, show_requests
from ollama_fleet.cli.options import Command, Options, Output, pass_options
from ollama_fleet.cli.past import choosing, query, requests
from ollama_fleet.cli.printing import emit
from ollama_fleet.cli.waiting import Duration


@click.command(
    "history",
    cls=Command,
    csv=True,
    examples={
        "fleet history --since 1h --slow 10": "what took ten seconds and more in the last hour",
        "fleet history --errors --since 2026-11-21 -o csv": "what failed since that day, as CSV",
    },
)
@choosing
@click.option("--slow", type=Duration(), metavar="SECONDS", help="Only those that took so long.")
@click.option("--errors", is_flag=True, help="Only what was refused, failed or broke off.")
@click.option(
    "--limit",
    type=click.IntRange(1, 1000),
    default=50,
    metavar="N",
    help="The last N; 50 if not given.",
)
@pass_options
def command(options: Options, **asked: Any) -> None:
    """List the requests that have ended, the last to arrive first.

    Figures and names only: no prompt, no answer. Where no fleet is running they are read from the
    file of the last one. `fleet explain ID` tells more of each.
    """
    found = requests(options, query(**asked))

    def show() -> str:
        if options.output is Output.CSV:
            from ollama_fleet.history import RequestRecord

            return as_csv(found, RequestRecord.__struct_fields__)
        return show_requests(found, wide=options.output is Output.WIDE)

    emit(options, {"requests": found}, show)
