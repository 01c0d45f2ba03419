"""A word on what lies in the stores and no model needs, where there is much of it."""

from contextlib import suppress
from typing import Final

from ollama_fleet.cli.control import Control
from ollama_fleet.cli.options import Options
from ollama_fleet.cli.printing import note
from ollama_fleet.errors import FleetError
from ollama_fleet.units import show_bytes

_NO_MODEL: Final = ("/",)  # no name begins so: only the stores are wanted


def tell_leftovers(options: Options, control: Control) -> None:
    """Say on stderr what `fleet prune` would remove; nothing where that is hardly worth it."""
    if options.quiet:
        return
    with suppress(FleetError):  # what it is said after has ended well, and is not to fail by this
        stores = control.models(_NO_MODEL)["stores"]
        size_bytes = sum(store["prunable_bytes"] for store in stores)
        if size_bytes:
            size = show_bytes(size_bytes)
            note(options, f"the stores have {size} that no model needs: `fleet prune` removes it")
