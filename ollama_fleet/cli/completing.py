"""What a shell offers after TAB: the names of instances, of groups and of models."""

from collections.abc import Callable, Iterable

import click

from ollama_fleet.cli.control import Control, running
from ollama_fleet.errors import FleetError

BUDGET_S = 0.2  # a shell that hangs at TAB is worse than one that offers nothing


def instance_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The instances of the running fleet that begin with what is there; none if it does not run."""
    return _offered(ctx, param, incomplete, _instances)


def place_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Likewise, its instances and its groups."""
    return _offered(ctx, param, incomplete, lambda c: (*_instances(c), *_groups(c)))


def model_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Likewise, the models that it has."""
    return _offered(ctx, param, incomplete, lambda c: _models(c, incomplete))


def _offered(
    ctx: click.Context,
    param: click.Parameter,
    incomplete: str,
    names: Callable[[Control], Iterable[str]],
) -> list[str]:
    chosen = ctx.params.get(param.name or "") or ()
    try:
        found = dict.fromkeys(names(running()))
    except FleetError:
        return []
    return [name for name in found if name.startswith(incomplete) and name not in chosen]


def _instances(control: Control) -> list[str]:
    return [instance["name"] for instance in control.status(BUDGET_S)["instances"]]


def _groups(control: Control) -> list[str]:
    return [instance["group"] for instance in control.status(BUDGET_S)["instances"]]


def _models(control: Control, incomplete: str) -> list[str]:
    begins = [incomplete] if incomplete else []
    return [model["name"] for model in control.models(begins, BUDGET_S)["models"]]
