"""`fleet top`: watch the fleet on a screen that updates itself."""

import os
from pathlib import Path

import click

from ollama_fleet.cli.control import running
from ollama_fleet.cli.options import Command, Options, pass_options
from ollama_fleet.cli.printing import print_document
from ollama_fleet.cli.screen import show_screen
from ollama_fleet.directories import Directories

_VIEWS = ("overview", "requests", "models", "logs", "decisions", "events")
_PICTURE_LOOKS = 120  # half a second each: sparklines need some


@click.command(
    "top",
    cls=Command,
    examples={
        "fleet top": "until q",
        "fleet top --view requests --readonly": "for a screen on the wall",
        "fleet top --once": "one frame, to paste somewhere",
    },
)
@click.option("--once", is_flag=True, help="Print one frame and return.")
@click.option(
    "--view", type=click.Choice(_VIEWS), default="overview", help="What to show at first."
)
@click.option("--readonly", is_flag=True, help="Let no key change anything.")
@click.option(
    "--picture",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Watch for a minute and write the screen, 120 columns wide, to an SVG file.",
)
@pass_options
def command(options: Options, once: bool, view: str, readonly: bool, picture: Path | None) -> None:
    """Watch the fleet on a screen that updates itself; q leaves it, and the fleet goes on.

    Six views are one key away: 1 overview, 2 requests, 3 models, 4 logs, 5 decisions, 6 events; ?
    explains the others. Without a terminal, or with --once, one frame is printed; with -o json or
    -o yaml it is `fleet status`.
    """
    control = running()
    snapshot = control.status()  # no screen for a fleet that is not there
    if options.for_machines:
        print_document(options, snapshot)
        return
    from ollama_fleet.cli.watched import Watched
    from ollama_fleet.tui import dashboard
    from ollama_fleet.tui.panels import Tab

    tab = Tab[view.upper()]
    if picture is not None:
        source = Watched(control, Directories.find(os.environ))
        picture.write_text(
            dashboard.draw(source, tab=tab, width=120, height=34, looks=_PICTURE_LOOKS)
        )
        return
    show_screen(control, wish=dashboard.Wish(tab, once=once, readonly=readonly))
