"""What is in an instance's memory, by weights and profile: from the rows of its last /api/ps."""

import math

from ollama_fleet.state.instance import Instance
from ollama_fleet.state.profiles import guessed
from ollama_fleet.state.records import Profile, ResidentModel, StoredModel
from ollama_fleet.state.runner import Runner

Row = tuple[ResidentModel, StoredModel | None]
"""What /api/ps says of a model in memory, and what is known of it from the store."""


def listed(instance: Instance) -> dict[str, Row]:
    """The rows of its last /api/ps, by weights."""
    rows = ((model, _stored(instance, model)) for model in instance.resident.values())
    return {stored.weights if stored else model.key: (model, stored) for model, stored in rows}


def look(instance: Instance) -> None:
    """Bring its runners in line with what /api/ps listed and what its store holds."""
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
    instance.resident = {}
    for weights, runner in list(instance.runners.items()):
        runner.forget()
        if runner.idle:
            del instance.runners[weights]


def gone(instance: Instance, weights: str) -> None:
    """These weights have left its memory, as they were to do once nobody used them."""
    row = listed(instance).get(weights)
    if row is not None:
        instance.resident = {k: m for k, m in instance.resident.items() if m is not row[0]}
    instance.runners[weights].forget()


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


def _stored(instance: Instance, model: ResidentModel) -> StoredModel | None:
    """The model of a row; /api/ps shows the name it was loaded by, which may be gone since."""
    stored = instance.stored.get(model.key)
    digest = model.row.get("digest")
    if stored is None and digest:
        same = (m for m in instance.stored.values() if m.digest == digest)
        stored = next(same, None)
    return stored
