"""What a shell offers after TAB: the names of instances, of groups and of models."""

from collections.abc import Callable, Iterable
from threading import Thread
from typing import Final

import click

from ollama_fleet.cli.control import Control, running
from ollama_fleet.errors import FleetError

BUDGET_S: Final = 0.2  # a shell that hangs at TAB is worse than one that offers nothing

Names = Callable[[Control], Iterable[str]]


def instance_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """The instances of the running fleet that begin with what is there; none if it does not run."""
    return _offered(ctx, param, incomplete, _instances)


def place_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Likewise, its instances and its groups."""
    return _offered(ctx, param, incomplete, _places)


def model_names(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Likewise, the models that it has."""
    return _offered(ctx, param, incomplete, lambda control: _models(control, incomplete))


def within(budget_s: float, ask: Callable[[], Iterable[str]]) -> list[str]:
    """What is answered in time; nothing if that is late, or an error.

    A timeout of the socket would be one of each piece, not of the whole answer.
    """
    found: list[str] = []

    def collect() -> None:
        try:
            found.extend(ask())
        except FleetError:
            return

    asking = Thread(target=collect, daemon=True)
    asking.start()
    asking.join(budget_s)
    return [] if asking.is_alive() else found


def _offered(
    ctx: click.Context, param: click.Parameter, incomplete: str, names: Names
) -> list[str]:
    chosen = ctx.params.get(param.name or "") or ()
    found = dict.fromkeys(within(BUDGET_S, lambda: names(running())))
    return [name for name in found if name.startswith(incomplete) and name not in chosen]


def _instances(control: Control) -> list[str]:
    return [instance["name"] for instance in control.status()["instances"]]


def _places(control: Control) -> list[str]:
    instances = control.status()["instances"]
    return [*(i["name"] for i in instances), *(i["group"] for i in instances)]


def _models(control: Control, incomplete: str) -> list[str]:
    begins = [incomplete] if incomplete else []
    return [model["name"] for model in control.models(begins)["models"]]
