"""The dashboard of a running fleet, read over the control socket."""

from collections.abc import Callable

from ollama_fleet.cli.control import Control
from ollama_fleet.cli.printing import may_colour

_READ_TIMEOUT_S = 2.0


def show_screen(
    control: Control, *, once: bool = False, stop: Callable[[], None] | None = None
) -> bool:
    """Show the fleet until the reader leaves; whether `stop` was chosen, and called.

    Without a terminal, or with `once`, one frame is printed.
    """
    from rich.console import Console

    from ollama_fleet.tui import dashboard
    from ollama_fleet.tui.snapshots import decode

    outcome = dashboard.run(
        lambda: decode(control.status_json(_READ_TIMEOUT_S)),
        console=Console(no_color=None if may_colour() else True),
        once=once,
        stop=stop,
    )
    return outcome is dashboard.Outcome.STOPPED
