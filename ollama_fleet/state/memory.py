"""What is in an instance's memory, by weights and profile: from the rows of its last /api/ps."""

import math
from collections.abc import Iterable

from ollama_fleet.state.instance import Instance
from ollama_fleet.state.profiles import guessed
from ollama_fleet.state.records import Profile, ResidentModel, StoredModel, bare
from ollama_fleet.state.runner import Runner

Row = tuple[ResidentModel, StoredModel | None]
"""What /api/ps says of a model in memory, and what is known of it from the store."""


def note(instance: Instance, rows: Iterable[ResidentModel]) -> None:
    """Keep what /api/ps lists, and of what its names meant before what may still be in use.

    What is just being loaded is not listed yet.
    """
    instance.rows = tuple(rows)
    digests, unnamed = (
        {row.digest for row in instance.rows},
        instance.runners.keys() - instance.names,
    )
    past = instance.past.items()
    instance.past = {d: m for d, m in past if d in digests or m.weights in unnamed}


def listed(instance: Instance) -> dict[str, Row]:
    """The rows of its last /api/ps, by weights."""
    rows = ((model, _stored(instance, model)) for model in instance.rows)
    return {stored.weights if stored else model.key: (model, stored) for model, stored in rows}


def look(instance: Instance) -> None:
    """Bring its runners in line with what /api/ps listed and what its store holds."""
    instance.resident = _named(instance)
    seen = listed(instance)
    for weights, row in seen.items():
        _see(instance, instance.runner(weights), *row)
    for weights, runner in list(instance.runners.items()):
        if weights not in seen and not runner.loading:
            runner.forget()
        if runner.idle:
            del instance.runners[weights]


def forget(instance: Instance) -> None:
    """Its process has ended: nothing is in its memory."""
    instance.rows, instance.resident, instance.past = (), {}, {}
    for weights, runner in list(instance.runners.items()):
        runner.forget()
        if runner.idle:
            del instance.runners[weights]


def gone(instance: Instance, weights: str) -> None:
    """These weights have left its memory, as they were to do once nobody used them."""
    row = listed(instance).get(weights)
    if row is not None:
        instance.rows = tuple(model for model in instance.rows if model is not row[0])
        instance.resident = _named(instance)
    instance.runners[weights].forget()


def superseded(instance: Instance) -> dict[str, list[StoredModel]]:
    """What is in its memory by a name that stands for other weights now, by that name's key.

    Only what no name stands for any more: nobody can ask for it.
    """
    found: dict[str, list[StoredModel]] = {}
    for model, old in listed(instance).values() if instance.past else ():
        new = instance.stored.get(model.key)
        if old is None or new is None or new.remote or not (old.blob and new.blob):
            continue
        if old.digest != new.digest and old.weights not in instance.names:
            found.setdefault(model.key, []).append(old)
    return found


def _see(
    instance: Instance, runner: Runner, model: ResidentModel, stored: StoredModel | None
) -> None:
    if runner.loading:  # not listed before it is done; until then the row is of what has to go
        return
    length = model.context_length
    changed = runner.context_length not in (0, length)  # somebody else has had it loaded anew
    if runner.in_flight and not runner.resident:
        runner.profile = runner.running
    elif not runner.in_flight and (changed or not runner.resident):
        runner.profile = _guessed(instance, length, stored)
    runner.resident = runner.listed = True
    runner.context_length = length
    runner.expires_s = math.inf if runner.in_flight else model.expires_s


def _guessed(instance: Instance, length: int, stored: StoredModel | None) -> Profile:
    if stored is None:
        return ()
    details = stored.row.get("details")
    trained = details.get("context_length") if isinstance(details, dict) else 0
    known = trained if isinstance(trained, int) else 0
    return guessed(stored.profile, length, instance.default_context, known)


def _named(instance: Instance) -> dict[str, ResidentModel]:
    """The rows by their names; of two the one that the name stands for."""
    found: dict[str, ResidentModel] = {}
    for row in instance.rows:
        if row.key not in found or row.digest not in instance.past:
            found[row.key] = row
    return found


def _stored(instance: Instance, model: ResidentModel) -> StoredModel | None:
    """The model of a row; the name it was loaded by may be gone since, or mean another one."""
    stored, digest = instance.stored.get(model.key), model.digest
    if not digest or (stored is not None and bare(stored.digest) == digest):
        return stored
    same = (m for m in instance.stored.values() if bare(m.digest) == digest)
    return next(same, None) or instance.past.get(digest) or stored
