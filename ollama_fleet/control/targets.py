"""Which instances and which model are meant by the names of a command; pure.

What is not there is refused with what there is.
"""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Final

from ollama_fleet.errors import FleetError, nothing_called
from ollama_fleet.names import ModelName
from ollama_fleet.state import Instance, State

_CLOSE: Final = 3  # names that are offered for one that is not there


def model_key(name: str) -> str:
    """The key of a model's name. Raises FleetError for what is none."""
    try:
        return ModelName.parse(name).key
    except ValueError as error:
        raise FleetError(str(error)) from None


def named(state: State, names: Sequence[str]) -> tuple[Instance, ...]:
    """The instances of those names or of the groups of those names, in the fleet's order.

    All of them if there are no names. Raises FleetError for a name of neither.
    """
    instances = tuple(state.instances.values())
    known = {name for i in instances for name in (i.name, i.spec.group)}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise nothing_called("instance or group", unknown, sorted(known), _there_are(state))
    return tuple(i for i in instances if not names or {i.name, i.spec.group} & set(names))


def serving(state: State, name: str, on: Sequence[str] = ()) -> tuple[Instance, ...]:
    """The instances that are named, of which some may lack the model; else all that may serve it.

    Raises FleetError if no instance has the model, or none that has it may serve it.
    """
    key, meant = known_key(state, name), named(state, on)
    if on:
        return meant
    able = tuple(i for i in meant if key in i.stored and state.may_serve(i, key))
    if not able:
        holders = ", ".join(i.name for i in state.holders(key))
        raise FleetError(f"no instance that may serve {name} has it", f"it is on {holders}")
    return able


def known_key(state: State, name: str) -> str:
    """The key of a model that some instance has, on disk or in memory. Raises FleetError."""
    key = model_key(name)
    if any(key in i.stored or key in i.resident for i in state.instances.values()):
        return key
    alike = " or ".join(_alike(state, name))
    unread = [i.name for i in state.instances.values() if not i.healthy and not i.stored]
    if unread and not alike:
        silent = ", ".join(unread)
        raise FleetError(
            f"no instance is known to have a model {name}",
            f"what {silent} has is not known yet: `fleet status` shows how far it is",
        )
    hint = f"did you mean {alike}?" if alike else f"`fleet pull {name}` downloads it"
    raise FleetError(f"no instance has a model {name}", hint)


def _alike(state: State, name: str) -> list[str]:
    """Models whose names contain this one, else those near it; a tag counts if it has one."""
    names = {model.name for i in state.instances.values() for model in i.stored.values()}
    tagged, asked = ":" in name, name.lower()
    shown = {(n if tagged else n.partition(":")[0]).lower(): n for n in sorted(names)}
    close = [text for text in shown if asked in text][:_CLOSE]
    return [shown[text] for text in close or get_close_matches(asked, shown, _CLOSE)]


def _there_are(state: State) -> str:
    groups = dict.fromkeys(i.spec.group for i in state.instances.values())
    others = ", ".join(group for group in groups if group not in state.instances)
    return f"there are {', '.join(state.instances)}{'; groups: ' if others else ''}{others}"
