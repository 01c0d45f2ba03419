"""`fleet metrics`: the figures that Prometheus scrapes."""

import click

from ollama_fleet.cli.control import running
from ollama_fleet.cli.options import Command, Options, pass_options


@click.command(
    "metrics",
    cls=Command,
    examples={
        "fleet metrics | grep requests_in_flight": "a figure now",
        "fleet metrics -o json": "all of them for a program",
    },
)
@pass_options
def command(options: Options) -> None:  # noqa: ARG001 - every command takes them
    """Print the fleet's metrics as Prometheus scrapes them, whatever -o says.

    With the key metrics.listen in fleet.yaml the same page is at http://ADDRESS/metrics.
    """
    click.echo(running().read("/metrics").decode(), nl=False)
