"""`fleet undrain`: put instances back into rotation."""

import click

from ollama_fleet.cli.completing import place_names
from ollama_fleet.cli.control import running
from ollama_fleet.cli.options import Command, Options, pass_options
from ollama_fleet.cli.printing import emit


@click.command(
    "undrain",
    cls=Command,
    examples={
        "fleet undrain gpu-1": "give it requests again",
        "fleet undrain gpu-0 gpu-1": "two of them",
    },
)
@click.argument(
    "instances", nargs=-1, required=True, metavar="INSTANCE|GROUP…", shell_complete=place_names
)
@pass_options
def command(options: Options, instances: tuple[str, ...]) -> None:
    """Put drained instances or groups back into rotation.

    Whyever they are out of it: by `fleet drain`, or because the fleet has drained them itself.
    """
    undrained = running().undrain(instances)
    emit(options, {"undrained": undrained}, lambda: f"undrained: {', '.join(undrained)}")
