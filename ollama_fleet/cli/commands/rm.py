"""`fleet rm`: remove models."""

import click

from ollama_fleet.cli.changes import Change, report
from ollama_fleet.cli.completing import model_names
from ollama_fleet.cli.control import running
from ollama_fleet.cli.options import Command, Options, pass_options
from ollama_fleet.errors import Exit, FleetError, NotRunning


@click.command(
    "rm",
    cls=Command,
    examples={
        "fleet rm assistant": "from every store",
        "fleet rm --force qwen3:8b": "also if it is in memory",
    },
)
@click.argument("models", nargs=-1, required=True, metavar="MODEL…", shell_complete=model_names)
@click.option("--force", is_flag=True, help="Unload models that are in memory, then remove them.")
@pass_options
def command(options: Options, models: tuple[str, ...], force: bool) -> int:
    """Remove models from every store that has them.

    A model that an instance has in memory is removed only with --force, which unloads it first,
    when the requests that use it have ended. The exit code is 1 if one could not be removed; the
    others are removed nevertheless.
    """
    control = running()
    changes: list[Change] = []
    refused = False
    for model in models:
        try:
            outcomes = control.delete(model, force=force)
        except NotRunning:
            raise
        except FleetError as error:
            refused = True
            click.echo(f"fleet: {error.told}", err=True)
        else:
            changes.append((f"removed {model}", {"model": model}, outcomes))
    code = report(options, changes)
    return Exit.FAILED if refused else code
