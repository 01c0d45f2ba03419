"""`fleet completion`: the script that completes commands in a shell."""

import click

from ollama_fleet.cli.options import Command, Options, pass_options


@click.command("completion", cls=Command)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@pass_options
def command(options: Options, shell: str) -> None:  # noqa: ARG001 - every command takes them
    """Print the script that completes commands, options and instances in a shell.

    \b
    bash  eval "$(fleet completion bash)"   in ~/.bashrc
    zsh   eval "$(fleet completion zsh)"    in ~/.zshrc
    fish  fleet completion fish > ~/.config/fish/completions/fleet.fish
    """  # noqa: D301 - click's mark for lines that are not to be wrapped
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    root = click.get_current_context().find_root().command
    click.echo(kind(root, {}, "fleet", "_FLEET_COMPLETE").source())
