"""`fleet usage`: what tenants and models have used."""

from typing import Any, Final

import click

from ollama_fleet.cli.ended import as_csv, show_usage
from ollama_fleet.cli.options import Command, Options, Output, pass_options
from ollama_fleet.cli.past import choosing, query, usage
from ollama_fleet.cli.printing import emit

_BY: Final = ("tenant", "model", "instance")


@click.command(
    "usage",
    cls=Command,
    csv=True,
    examples={
        "fleet usage --since 24h": "what each tenant has used of each model in a day",
        "fleet usage --by tenant --since 2026-11-01 -o csv": "totals of a month, as CSV",
    },
)
@click.option("--by", type=click.Choice(_BY), multiple=True,
              help="Keep apart by these; tenant and model if not given.")  # fmt: skip
@choosing
@pass_options
def command(options: Options, by: tuple[str, ...], **asked: Any) -> None:
    """Add up requests, tokens, GPU-seconds and energy, of all that ran a model.

    As far back as the history goes. docs/history.md says how GPU-seconds and energy are shared
    among requests that an instance works on at once.
    """
    apart = tuple(dict.fromkeys(by)) or _BY[:2]
    found = usage(options, query(**asked), apart)

    def show() -> str:
        if options.output is Output.CSV:
            from ollama_fleet.history import Usage

            return as_csv(found, Usage.__struct_fields__)
        return show_usage(found, apart)

    emit(options, {"usage": found}, show)
