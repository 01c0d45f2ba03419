"""`fleet top`: watch the fleet on a screen that updates itself."""

import click

from ollama_fleet.cli.control import running
from ollama_fleet.cli.options import Command, Options, pass_options
from ollama_fleet.cli.printing import print_document
from ollama_fleet.cli.screen import show_screen


@click.command("top", cls=Command)
@click.option("--once", is_flag=True, help="Print one frame and return.")
@pass_options
def command(options: Options, once: bool) -> None:
    """Watch the fleet on a screen that updates itself; q leaves it, and the fleet goes on.

    Without a terminal, or with --once, one frame is printed.
    """
    control = running()
    snapshot = control.status()  # no screen for a fleet that is not there
    if options.for_machines:
        print_document(options, snapshot)
    else:
        show_screen(control, once=once)
