"""What placement settles: the instances to run, and where each model may be served."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ollama_fleet.gpu import Gpu


@dataclass(frozen=True, slots=True)
class InstanceSpec:
    """One wanted `ollama serve`, or one that someone else runs (`external`).

    `slots` is how many requests it works on at once per model, where the fleet is to find that out
    how many to begin with, and `most_slots` how many it may be; `store` identifies its model store
    (a path, or the URL of an external instance): equal stores hold equal models. `pinned` are the
    keys of the models its group keeps on it, `preload` the model names to load before it counts
    as ready. `weight` is its share in the weighted strategies, 0 for what it is seen to do.
    `cpus` are the CPUs its processes may run on and `memory_nodes` the NUMA nodes they take memory
    from as long as there is some, all where empty. `reasons` say for people why it is as it is.
    """

    name: str
    group: str
    host: str
    port: int
    slots: int
    store: str
    gpus: tuple[Gpu, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    pinned: tuple[str, ...] = ()
    preload: tuple[str, ...] = ()
    external: bool = False
    url: str = ""
    reasons: tuple[str, ...] = ()
    weight: float = 0.0
    most_slots: int = 0
    cpus: tuple[int, ...] = ()
    memory_nodes: tuple[int, ...] = ()

    @property
    def base_url(self) -> str:
        """Where its HTTP API is, without a trailing slash."""
        if self.external:
            return self.url
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Placement:
    """All instances in a stable order; what was left out and why (`notes`).

    `routes` holds, for each model key that is bound to some groups, the names of the instances that
    may serve it; a model that is not a key may be served anywhere.
    """

    instances: tuple[InstanceSpec, ...]
    routes: Mapping[str, frozenset[str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
