"""The dashboard of a running fleet, read over the control socket."""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from ollama_fleet.cli.control import Control
from ollama_fleet.cli.printing import may_colour
from ollama_fleet.directories import Directories

if TYPE_CHECKING:
    from ollama_fleet.tui.dashboard import Wish


def show_screen(
    control: Control, *, wish: "Wish | None" = None, stop: Callable[[], None] | None = None
) -> bool:
    """Show the fleet until the reader leaves; whether `stop` was chosen, and called.

    Without a terminal, or where only one frame is wished for, that is printed.
    """
    from rich.console import Console

    from ollama_fleet.cli.watched import Watched
    from ollama_fleet.tui import dashboard

    outcome = dashboard.run(
        Watched(control, Directories.find(os.environ)),
        console=Console(no_color=None if may_colour() else True),
        wish=wish,
        stop=stop,
    )
    return outcome is dashboard.Outcome.STOPPED
