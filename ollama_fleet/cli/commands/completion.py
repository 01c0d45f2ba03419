"""`fleet completion`: the script that completes commands in a shell."""

import click

from ollama_fleet.cli.options import Command, Options, pass_options


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
    than a fifth of a second to answer, no name is offered.
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    root = click.get_current_context().find_root().command
    click.echo(kind(root, {}, "fleet", "_FLEET_COMPLETE").source())
