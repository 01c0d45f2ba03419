"""`fleet completion`: the script that completes commands in a shell."""

import sys
from pathlib import Path
from typing import Final

import click

from ollama_fleet.cli.options import Command, Options, pass_options

_PROGRAMS: Final = ("fleet", "ollama-fleet")  # the names that it is installed by


@click.command(
    "completion",
    cls=Command,
    examples={
        'eval "$(fleet completion bash)"': "in ~/.bashrc",
        'eval "$(fleet completion zsh)"': "in ~/.zshrc",
        "fleet completion fish > ~/.config/fish/completions/fleet.fish": "once, for fish",
    },
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@pass_options
def command(options: Options, shell: str) -> None:  # noqa: ARG001 - every command takes them
    """Print the script that completes commands, options and names in a shell.

    Instances, groups and models are those of the fleet that runs; where none does, or it takes more
    than a fifth of a second to answer, no name is offered. Of `ollama-fleet completion` it is the
    script for `ollama-fleet`.
    """
    from ollama_fleet.cli.shells import script

    program = Path(sys.argv[0]).name
    root = click.get_current_context().find_root().command
    click.echo(script(shell, root, program if program in _PROGRAMS else _PROGRAMS[0]).rstrip())
