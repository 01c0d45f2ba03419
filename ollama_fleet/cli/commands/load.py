"""`fleet load`: load a model before anybody asks for it."""

import click

from ollama_fleet.cli import steps
from ollama_fleet.cli.completing import model_names
from ollama_fleet.cli.control import running
from ollama_fleet.cli.options import Command, Options, pass_options
from ollama_fleet.cli.printing import note


@click.command(
    "load",
    cls=Command,
    examples={
        "fleet load qwen3:8b": "wherever it is",
        "fleet load --on gpu-0,gpu-1 qwen3:8b": "on two instances",
    },
)
@click.argument("model", shell_complete=model_names)
@steps.on("Load")
@pass_options
def command(options: Options, model: str, on: tuple[str, ...]) -> int:
    """Load a model into memory, on all instances that have it and may serve it.

    Tells how long it took on each, and how much of it came from disk. The exit code is 1 if one
    could not load it. Ctrl-C ends the waiting, not the load.
    """
    try:
        return steps.follow(options, model, running().load(model, steps.places(on)))
    except KeyboardInterrupt:
        note(options, "\nthe load goes on; `fleet list` shows it")
        raise
