"""`fleet list`: which models are where."""

import shutil
import sys
import time

import click

from ollama_fleet.cli import models as view
from ollama_fleet.cli.completing import model_names
from ollama_fleet.cli.control import running
from ollama_fleet.cli.options import Command, Options, Output, pass_options
from ollama_fleet.cli.printing import emit
from ollama_fleet.errors import Exit


@click.command(
    "list",
    cls=Command,
    examples={
        "fleet list": "every model",
        "fleet list qwen": "those whose names begin so",
        "fleet list -o wide": "with what they take in memory, and the disks",
    },
)
@click.argument("models", nargs=-1, metavar="[MODEL]…", shell_complete=model_names)
@pass_options
def command(options: Options, models: tuple[str, ...]) -> int:
    """Show which models are where, all or those whose names begin so.

    A column per instance says what that has of a model: `disk`, `part 45%`, `loading`, or in
    memory `gpu`, `cpu`, or how much of it is on the GPU. On a terminal that is too narrow for them
    the instances are counted instead. The exit code is 1 if models are named and there are none.
    """
    document = running().models(models)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    wide = options.output is Output.WIDE
    emit(
        options,
        document,
        lambda: view.show(document, now_s=time.time(), width=width, wide=wide),
    )
    if models and not document["models"]:
        click.echo(
            f"fleet: no model's name begins with {' or '.join(models)}; `fleet list` shows all",
            err=True,
        )
        return Exit.FAILED
    return Exit.OK
