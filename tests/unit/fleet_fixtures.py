"""Small fleets for unit tests: real records, no processes."""

from ollama_fleet.names import canonical
from ollama_fleet.placement import InstanceSpec, Placement
from ollama_fleet.router.dialect import Dialect
from ollama_fleet.router.intake import Request
from ollama_fleet.state import Instance, Phase, State, StoredModel


def spec(name, *, slots=2, store="/store"):
    return InstanceSpec(name=name, group="g", host="127.0.0.1", port=1, slots=slots, store=store)


def fleet(*names, slots=2, models=("m",), routes=None):
    """A state whose instances are all ready and hold all `models`."""
    state = State(Placement(tuple(spec(n, slots=slots) for n in names), routes or {}))
    for instance in state.instances.values():
        state.set_phase(instance, Phase.READY, 0.0)
        hold(state, instance, *models)
    return state


def hold(state: State, instance: Instance, *models: str):
    rows = [StoredModel(canonical(m), m, "d-" + m, 1, {"name": m}) for m in models]
    state.set_stored(instance, rows)


def asks(model="m", *, slot=True) -> Request:
    key = canonical(model)
    return Request("POST", "/api/chat", Dialect.OLLAMA, model, key, key if slot else "")
