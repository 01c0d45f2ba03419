"""Every model that the stores hold, pulled anew: what that changed, and what could not be."""

from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from enum import StrEnum
from typing import Final

from ollama_fleet.control.library.allowed import NotFromThere
from ollama_fleet.control.library.jobs import Record
from ollama_fleet.control.targets import named
from ollama_fleet.errors import FleetError
from ollama_fleet.names import is_passing
from ollama_fleet.state import Instance, State
from ollama_fleet.state.records import bare

# What Ollama makes of a registry's 404: it is asked for what was made here, too.
_UNKNOWN_THERE: Final = "pull model manifest: file does not exist"


class Outcome(StrEnum):
    """What came of a model's refresh."""

    UNCHANGED = "unchanged"
    UPDATED = "updated"
    SKIPPED = "skipped"  # it is not from a registry that may be asked
    FAILED = "failed"


Puller = Callable[[str, bool, Sequence[str]], AsyncGenerator[Record, None]]
"""Pulls a model, without TLS or with it, for these instances. Raises FleetError."""


async def refresh(
    state: State,
    pull: Puller,
    insecure: bool = False,  # noqa: FBT001, FBT002 - the shape of the callbacks
    to: Sequence[str] = (),
) -> AsyncGenerator[Record, None]:
    """Pull every model again, one after another, for those of these instances that have it.

    Yields records with the `model` they are about, and last of each its `outcome`: with `was` and
    `now`, digests of manifests, if it was updated; with an `error` if it was skipped or failed. The
    very last has the status `success`, whatever came of them.
    Raises FleetError, before anything is done, for a name of no instance or group.
    """
    instances = named(state, to)
    names = {m.key: m.name for i in instances for m in i.stored.values() if not is_passing(m.key)}
    for key, name in sorted(names.items()):
        holders = [instance for instance in instances if key in instance.stored]
        if not holders:
            continue  # it was removed while others were pulled
        was = _digests(holders, key)
        try:
            async with aclosing(pull(name, insecure, [i.name for i in holders])) as records:
                async for record in records:
                    if record.get("status") != "success":
                        yield {**record, "model": name}
        except (FleetError, ValueError) as error:
            yield {"model": name, **_unlucky(error)}
            continue
        now = _digests(holders, key)
        if now == was:
            yield {"model": name, "outcome": Outcome.UNCHANGED}
        else:
            yield {"model": name, "outcome": Outcome.UPDATED, "was": was, "now": now}
    yield {"status": "success"}


def _unlucky(error: FleetError | ValueError) -> Record:
    why = error.reason if isinstance(error, FleetError) else str(error)
    skipped = isinstance(error, NotFromThere)
    if _UNKNOWN_THERE in why:
        skipped, why = True, "not from a registry: it was made here, or is no longer there"
    return {"outcome": Outcome.SKIPPED if skipped else Outcome.FAILED, "error": why}


def _digests(holders: Iterable[Instance], key: str) -> list[str]:
    """What the model is on them, each once."""
    stored = (instance.stored.get(key) for instance in holders)
    return list(dict.fromkeys(bare(model.digest) for model in stored if model is not None))
