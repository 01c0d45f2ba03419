"""What an instance had in memory, to be loaded again before it takes requests anew. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from ollama_fleet.names import canonical
from ollama_fleet.state import Instance, Profile, ResidentModel
from ollama_fleet.state.profiles import RUNNER_OPTIONS


@dataclass(frozen=True, slots=True)
class Wanted:
    """A model to be loaded, with these options for its runner beyond the Modelfile's."""

    name: str
    options: Profile = ()


def hot(instance: Instance) -> tuple[Wanted, ...]:
    """The models in its memory, each weights once, the most recently used first.

    A model in use is listed to stay longest, and of two idle ones that which was used later.
    """
    rows = sorted(instance.rows, key=lambda row: row.expires_s, reverse=True)
    found: dict[str, Wanted] = {}
    for row in rows:
        weights, wanted = _wanted(instance, row)
        found.setdefault(weights, wanted)
    return tuple(found.values())


def order(preload: Sequence[str], warm: Sequence[Wanted]) -> tuple[Wanted, ...]:
    """What is loaded in which order: those that are to be there at each start come first.

    What was in memory comes later, so that it is what stays where there is no room for all, and
    with the options that it had.
    """
    again = {canonical(wanted.name) for wanted in warm}
    first = (Wanted(name) for name in preload if canonical(name) not in again)
    return (*first, *warm)


def _wanted(instance: Instance, row: ResidentModel) -> tuple[str, Wanted]:
    model = instance.stored.get(row.key)
    if model is None:
        return row.key, Wanted(row.name)
    runner = instance.runners.get(model.weights)
    options = runner.profile if runner is not None else ()
    asked = tuple(o for o in options if o[0] in RUNNER_OPTIONS and o not in model.profile)
    return model.weights, Wanted(row.name, asked)
