"""The commands: a module each, imported when it is called; here is only what `--help` tells."""

import os
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Final

import click

from ollama_fleet import __version__
from ollama_fleet.cli.options import Group

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

SECTIONS: Final[Mapping[str, Mapping[str, str]]] = {
    "Set up": {
        "init": "Write a fleet.yaml for this machine.",
        "doctor": "Check that this machine is fit to run a fleet.",
        "config": "Check and show the configuration.",
        "keys": "Add, list and remove keys.",
        "plan": "Show what `up` would run, and why; start nothing.",
    },
    "Run": {
        "up": "Start the fleet.",
        "down": "Stop the fleet.",
        "status": "Show the instances and what they do (also: ps).",
        "top": "Watch the fleet on a screen that updates itself.",
        "logs": "Print what the instances have written.",
        "events": "Print what has happened to the fleet.",
        "metrics": "Print the figures that Prometheus scrapes.",
        "restart": "Restart instances, one after another.",
        "reload": "Read fleet.yaml again, and do what is different.",
        "drain": "Take instances out of rotation.",
        "undrain": "Put instances back into rotation.",
    },
    "Look back": {
        "history": "List the requests that have ended.",
        "explain": "Tell why a request took as long as it did.",
        "usage": "Add up what tenants and models have used.",
    },
    "Models": {
        "pull": "Download models for the whole fleet.",
        "sync": "Make every store hold the same models.",
        "list": "Show which models are where (also: ls).",
        "show": "Show what a model is, and where.",
        "cp": "Give a model a second name.",
        "rm": "Remove models.",
        "prune": "Remove what no model needs.",
        "load": "Load a model before anybody asks for it.",
        "stop": "Unload a model.",
    },
    "Other": {
        "replay": "Play requests again: another strategy, one more GPU.",
        "bench": "Measure strategies beside one another.",
        "completion": "Print the script that completes commands in a shell.",
        "version": "Show the versions of fleet, Python and Ollama.",
    },
}
VARIABLE: Final = "_FLEET_COMPLETE"  # set by a shell that asks what may stand there
ALIASES: Final = {"ps": "status", "ls": "list"}


class _Commands(Group):
    """Finds commands by name in the table above, and imports only the one that is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """All names, in the order of the table."""
        return [name for section in SECTIONS.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name or alias; None if there is none."""
        name = ALIASES.get(cmd_name, cmd_name)
        if name not in self.list_commands(ctx):
            return None
        command = import_module(f"{__name__}.{name}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command and the arguments for it; one that is not there raises what comes nearest."""
        if self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            raise click.NoSuchCommand(
                args[0], possibilities=(*self.list_commands(ctx), *ALIASES), ctx=ctx
            )
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem[str]]":
        """The names in the table that begin so, without importing a command."""
        from click.shell_completion import CompletionItem

        commands = (row for section in SECTIONS.values() for row in section.items())
        found = [CompletionItem(n, help=told) for n, told in commands if n.startswith(incomplete)]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's signature
        """Write the table, a part after another."""
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([*commands.items()])  # `list` is a command here


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    subcommand_metavar="COMMAND …",
    examples={
        "fleet init": "write a fleet.yaml for this machine",
        "fleet up": "start the fleet and watch it",
        "fleet pull qwen3:8b": "a model for all of it",
    },
)
@click.version_option(__version__, prog_name="fleet", message="%(prog)s %(version)s")
@click.pass_context
def fleet(ctx: click.Context) -> None:
    """Run an Ollama server per GPU group, behind one router on Ollama's own port.

    Start with `fleet up`. `fleet COMMAND --help` tells more about each command.
    """
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        ctx.color = False
    elif ctx.color is None and {"FORCE_COLOR", "CLICOLOR_FORCE"} & os.environ.keys():
        ctx.color = True
