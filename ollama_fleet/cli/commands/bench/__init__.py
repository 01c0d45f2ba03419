"""`fleet bench`: figures of this machine, or of a fleet that runs."""

import click

from ollama_fleet.cli.commands.bench import routing
from ollama_fleet.cli.options import Group


@click.group("bench", cls=Group)
def command() -> None:
    """Measure strategies beside one another, on real processes."""


command.add_command(routing.command)
