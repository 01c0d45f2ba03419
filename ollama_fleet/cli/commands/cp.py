"""`fleet cp`: give a model a second name."""

import click

from ollama_fleet.cli.changes import report
from ollama_fleet.cli.completing import model_names
from ollama_fleet.cli.control import running
from ollama_fleet.cli.options import Command, Options, pass_options


@click.command(
    "cp",
    cls=Command,
    examples={
        "fleet cp qwen3:8b assistant": "clients ask for `assistant` from now on",
    },
)
@click.argument("source", shell_complete=model_names)
@click.argument("destination")
@pass_options
def command(options: Options, source: str, destination: str) -> int:
    """Give a model a second name, in every store that has it.

    The exit code is 1 if it could not be done in one of them.
    """
    changes = running().copy(source, destination)
    done = f"copied {source} to {destination}"
    return report(options, [(done, {"source": source, "destination": destination}, changes)])
