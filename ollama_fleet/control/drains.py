"""Out of rotation and back, as an operator asks; who must not be the last to go."""

from collections.abc import Collection, Sequence
from typing import Final

from ollama_fleet.control.targets import named
from ollama_fleet.errors import FleetError
from ollama_fleet.state import Instance, State

ASKED: Final = "an operator asked for it"
LONGEST: Final = 200  # characters of a reason: it stands in lines of status, events and screens


def drain(
    state: State, names: Sequence[str], *, reason: str = ASKED, force: bool = False
) -> tuple[Instance, ...]:
    """Take instances out of rotation, named themselves or by their groups; they are returned.

    Raises FleetError, and does nothing, for a name of neither, for a reason of more than LONGEST
    characters, and without `force` where nobody would be left for all requests or for those of one
    model.
    """
    if len(reason) > LONGEST:
        raise FleetError(f"the reason has {len(reason)} characters", f"{LONGEST} are the most")
    leaving = named(state, names)
    if not force:
        _require_others(state, leaving)
    for instance in leaving:
        state.drain(instance, reason)
    return leaving


def undrain(state: State, names: Sequence[str]) -> tuple[Instance, ...]:
    """Put instances back into rotation, whyever they are out; likewise."""
    coming = named(state, names)
    for instance in coming:
        state.undrain(instance)
    return coming


def _require_others(state: State, leaving: Collection[Instance]) -> None:
    """Raise FleetError if nobody stays who may serve what those who leave serve now."""
    going = [instance for instance in leaving if instance.in_rotation]
    if not going:
        return
    staying = [i for i in state.instances.values() if i.in_rotation and i not in going]
    names = ", ".join(i.name for i in going)
    if not staying:
        raise FleetError(
            f"nobody would be left to take requests without {names}",
            "`--force` drains all the same: requests wait then until one is back",
        )
    for key, allowed in state.routes.items():
        if any(i.name in allowed for i in going) and not any(i.name in allowed for i in staying):
            raise FleetError(
                f"nobody else may serve {_name_of(going, key)} than {names}",
                "`--force` drains all the same: its requests wait then until one is back",
            )


def _name_of(instances: Sequence[Instance], key: str) -> str:
    """What a model is called where it is stored; else its key."""
    found = (i.stored[key].name for i in instances if key in i.stored)
    return next(found, key)
