"""`fleet show`: what a model is, and where."""

import sys

import click

from ollama_fleet.cli.completing import model_names
from ollama_fleet.cli.control import running
from ollama_fleet.cli.description import describe
from ollama_fleet.cli.options import Command, Options, pass_options
from ollama_fleet.cli.printing import emit
from ollama_fleet.cli.table import printable
from ollama_fleet.names import ModelName


@click.command(
    "show",
    cls=Command,
    examples={
        "fleet show qwen3:8b": "what it is and where it is",
        "fleet show --modelfile qwen3:8b > Modelfile": "to make another model of it",
    },
)
@click.argument("model", shell_complete=model_names)
@click.option("--license", "part", flag_value="license", help="Print its licence.")
@click.option("--modelfile", "part", flag_value="modelfile", help="Print its Modelfile.")
@click.option("--parameters", "part", flag_value="parameters", help="Print its parameters.")
@click.option("--system", "part", flag_value="system", help="Print its system message.")
@click.option("--template", "part", flag_value="template", help="Print its template.")
@pass_options
def command(options: Options, model: str, part: str | None) -> None:
    """Show what a model is, as `ollama show` does, where it is, and what it takes of memory.

    With -v its metadata and tensors, too. With one of the options below only that text, as it is.
    """
    control = running()
    told = control.show(model, verbose=options.verbose)
    answer, instance = told["show"], told["instance"]
    if part is not None and not options.for_machines:
        _print_text(str(answer.get(part) or ""))
        return
    begins = str(ModelName.parse(model))
    models = [m for m in control.models([begins])["models"] if m["name"].lower() == begins]
    footprints = control.footprints(model)
    emit(
        options,
        {**answer, "instance": instance, "models": models, "footprints": footprints},
        lambda: describe(answer, models, instance, footprints=footprints, verbose=options.verbose),
    )


def _print_text(text: str) -> None:
    """As it is; on a terminal without what that would obey."""
    if sys.stdout.isatty():
        text = "\n".join(map(printable, text.split("\n")))
    click.echo(text)
