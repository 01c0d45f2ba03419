"""`fleet config`: check and show the configuration."""

import json
import os

import click

from ollama_fleet.cli.configuring import load
from ollama_fleet.cli.options import Group, Options, pass_options
from ollama_fleet.cli.printing import emit, print_document
from ollama_fleet.directories import Directories
from ollama_fleet.errors import ConfigError, PlacementError

_NO_GPU = "no GPU was found here, so whether the models fit can only be told where they are to run"


@click.group("config", cls=Group)
def command() -> None:
    """Check and show the configuration."""


@command.command(
    "check",
    examples={
        "fleet config check": "before a restart",
        "fleet config check -c new.yaml": "another file",
    },
)
@pass_options
def check(options: Options) -> None:
    """Look for mistakes in fleet.yaml, in `FLEET_*` variables and in flags.

    Every mistake is told at once, a line each: file:line:column, key, reason and hint. The exit
    code is then 78, as it is where pinned models cannot fit the GPUs of this machine.
    """
    try:
        loaded = load(options)
        from ollama_fleet import fleet

        fits = fleet.fits_here(loaded, directories=Directories.find(os.environ), environ=os.environ)
    except (ConfigError, PlacementError) as error:
        if options.for_machines and not options.quiet:
            problems = error.problems if isinstance(error, ConfigError) else [error.told]
            print_document(options, {"ok": False, "path": None, "problems": list(problems)})
        raise
    path = str(loaded.path) if loaded.path else None
    told = "ok" if fits else f"ok; {_NO_GPU}"
    emit(
        options,
        {"ok": True, "path": path, "problems": [], "fits": fits},
        lambda: f"{path or 'no fleet.yaml, so all defaults'}: {told}",
    )


@command.command(
    "show",
    examples={
        "fleet config show --origin": "and where each value comes from",
        "fleet config show -o json": "for a program",
    },
)
@click.option(
    "--origin",
    is_flag=True,
    help="Tell where each value comes from: file, variable, flag, default.",
)
@pass_options
def show(options: Options, origin: bool) -> None:
    """Print the configuration that is in force, defaults included, as a fleet.yaml."""
    from ollama_fleet import config
    from ollama_fleet.cli.options import Output
    from ollama_fleet.config.resolved import plain

    loaded = load(options)
    if options.output is not Output.JSON and not options.quiet:
        click.echo(config.show(loaded, origin=origin), nl=False)
        return
    document = {"path": str(loaded.path) if loaded.path else None, "config": plain(loaded.config)}
    if origin:
        document["origins"] = dict(loaded.origins)
    emit(options, document, str)


@command.command(
    "schema",
    examples={
        "fleet config schema > fleet.schema.json": "for an editor",
    },
)
@pass_options
def schema(options: Options) -> None:
    """Print the JSON Schema of fleet.yaml, for editors that complete and check it."""
    from ollama_fleet import config

    if not options.quiet:
        click.echo(json.dumps(config.schema(), indent=2))
