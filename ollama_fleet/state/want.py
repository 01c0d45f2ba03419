"""What the router wants control to do."""

from dataclasses import dataclass

from ollama_fleet.state.instance import Instance
from ollama_fleet.state.records import Profile, Residency


@dataclass(frozen=True, slots=True)
class Want:
    """Something to be loaded: what is to be in memory where, and how to ask for it.

    `name` is the model, `path` the route whose empty request loads it, `options` the runner's
    options of the request that waits.
    """

    instance: Instance
    residency: Residency
    name: str
    path: str
    options: Profile
