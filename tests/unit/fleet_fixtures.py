"""Small fleets for unit tests: real records, no processes."""

import random

from ollama_fleet.estimate import Estimates
from ollama_fleet.names import canonical
from ollama_fleet.placement import InstanceSpec, Placement
from ollama_fleet.router.dialect import Dialect
from ollama_fleet.router.intake import Request
from ollama_fleet.router.strategies import STRATEGIES, Tools
from ollama_fleet.state import Instance, Phase, ResidentModel, State, StoredModel


def spec(name, *, slots=2, store="/store", **environment):
    return InstanceSpec(
        name=name,
        group="g",
        host="127.0.0.1",
        port=1,
        slots=slots,
        store=store,
        environment=environment,
    )


def fleet(*names, slots=2, models=("m",), routes=None, **environment):
    """A state whose instances are all ready and hold all `models`."""
    specs = tuple(spec(n, slots=slots, **environment) for n in names)
    state = State(Placement(specs, routes or {}))
    for instance in state.instances.values():
        state.set_phase(instance, Phase.READY, 0.0)
        hold(state, instance, *models)
    return state


def stored(model, **more) -> StoredModel:
    return StoredModel(canonical(model), model, "d-" + model, 1, {"name": model}, **more)


def hold(state: State, instance: Instance, *models: str):
    state.set_stored(instance, [stored(m) for m in models])


def resident(model, *, context_length=0, **more) -> ResidentModel:
    row = {"name": model, "digest": "d-" + model, "context_length": context_length}
    return ResidentModel(canonical(model), model, 1, 1, "", row, **more)


def asks(model="m", *, slot=True, num_ctx=0, only=(), **more) -> Request:
    key = canonical(model)
    return Request(
        "POST",
        "/api/chat",
        Dialect.OLLAMA,
        model,
        key,
        key if slot else "",
        profile=(("num_ctx", num_ctx),) if num_ctx else (),
        only=frozenset(only),
        **more,
    )


def strategy(name, *, model_aware=True, seed=1, speeds=None):
    """One of ours, which knows nothing yet."""
    rng = random.Random(seed)
    return STRATEGIES[name](Tools(speeds or Estimates(), rng, model_aware=model_aware))
