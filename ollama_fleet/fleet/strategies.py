"""The strategies there are: ours, and those that installed distributions bring."""

from importlib.metadata import entry_points

from ollama_fleet.config.strategies import GROUP
from ollama_fleet.errors import FleetError
from ollama_fleet.router.policy import Strategy
from ollama_fleet.router.strategies import STRATEGIES, Make, Tools


def make_strategy(name: str, tools: Tools) -> Strategy:
    """The strategy of that name, ours before others'.

    Raises FleetError if there is none, or if what a distribution brings is no strategy.
    """
    make = STRATEGIES.get(name) or _others(name)
    strategy = make(tools)
    if not isinstance(strategy, Strategy):
        raise FleetError(
            f"strategy {name!r} made {type(strategy).__name__}, not a Strategy",
            "its entry point must be a function that takes Tools and returns a Strategy",
        )
    return strategy


def _others(name: str) -> Make:
    points = entry_points(group=GROUP, name=name)
    if not points:
        raise FleetError(
            f"there is no strategy {name!r}", "see `routing.strategy` for those there are"
        )
    (point, *_) = points
    try:
        make: Make = point.load()
    except Exception as error:
        raise FleetError(
            f"strategy {name!r} cannot be loaded: {error}", f"it comes from {point.value}"
        ) from error
    return make
