"""A state whose instances have stores of their own, without processes."""

from ollama_fleet.placement import InstanceSpec, Placement
from ollama_fleet.state import Phase, State


def state_over(*stores):
    """A state of an instance for each store, all of them ready; a URL is an external one's."""
    specs = tuple(
        InstanceSpec(
            name=f"i{n}",
            group="" if "://" in store else "g",
            host="127.0.0.1",
            port=1,
            slots=1,
            store=store,
            external="://" in store,
            url=store if "://" in store else "",
        )
        for n, store in enumerate(stores)
    )
    state = State(Placement(specs))
    for instance in state.instances.values():
        state.set_phase(instance, Phase.READY, 0.0)
    return state
