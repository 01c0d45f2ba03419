"""`fleet stop`: unload a model."""

import click

from ollama_fleet.cli import steps
from ollama_fleet.cli.completing import model_names
from ollama_fleet.cli.control import running
from ollama_fleet.cli.options import Command, Options, pass_options


@click.command(
    "stop",
    cls=Command,
    examples={
        "fleet stop qwen3:8b": "everywhere",
        "fleet stop --on gpu-1 qwen3:8b": "on one instance",
    },
)
@click.argument("model", shell_complete=model_names)
@steps.on("Unload")
@pass_options
def command(options: Options, model: str, on: tuple[str, ...]) -> int:
    """Unload a model from memory, on all instances.

    Each lets the requests that use it end first. The exit code is 1 if it is still in use after
    half a minute; it goes then, too, as soon as nobody uses it. `fleet down` stops the fleet.
    """
    return steps.follow(options, model, running().unload(model, steps.places(on)))
