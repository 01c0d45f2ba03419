"""What a shell offers after TAB: the names of instances."""

import click

from ollama_fleet.cli.control import running
from ollama_fleet.errors import FleetError

BUDGET_S = 0.2  # a shell that hangs at TAB is worse than one that offers nothing


def instance_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The instances of the running fleet that begin with what is there; none if it does not run."""
    chosen = ctx.params.get(param.name or "") or ()
    try:
        snapshot = running().status(BUDGET_S)
    except FleetError:
        return []
    names = [instance["name"] for instance in snapshot["instances"]]
    return [name for name in names if name.startswith(incomplete) and name not in chosen]
