"""`fleet metrics`: the figures that Prometheus scrapes."""

import click

from ollama_fleet.cli.control import running
from ollama_fleet.cli.options import Command, Options, pass_options
from ollama_fleet.cli.printing import emit


@click.command(
    "metrics",
    cls=Command,
    examples={
        "fleet metrics | grep requests_running": "a figure now",
        "fleet metrics -o json": "all of them for a program",
    },
)
@pass_options
def command(options: Options) -> None:
    """Print the fleet's metrics as Prometheus scrapes them; with -o json or -o yaml as data.

    With the key metrics.listen in fleet.yaml the same page is at http://ADDRESS/metrics.
    """
    page = running().read("/metrics").decode()
    if options.for_machines:
        from ollama_fleet.metrics.reading import families

        emit(options, {"metrics": families(page)}, str)
    elif not options.quiet:
        click.echo(page, nl=False)
