"""What `fleet init` writes: a commented fleet.yaml for the GPUs and servers it found. Pure."""

from collections.abc import Iterator, Sequence

from ollama_fleet.control.service import Service
from ollama_fleet.gpu import Inventory
from ollama_fleet.layout import servers
from ollama_fleet.layout.comments import comment
from ollama_fleet.layout.groups import groups
from ollama_fleet.layout.servers import MEANS, Access, Way, to_do

_HEAD = """\
# Ollama Fleet: the Ollama servers of this machine, and where requests enter.
# Every key is optional; docs/configuration.md explains them all, `fleet config check` tries them.
"""
_DEFAULTS = """\
defaults: # for all groups; each may set these for itself
  num_parallel: 4 # requests that an instance works on at once per model
  context_length: 8192 # tokens, where a request asks for none
  keep_alive: 30m # how long an idle model stays in memory
  flash_attention: true
"""
_MODELS = """\
# models: # loaded before an instance counts as ready, here on two of them
#   "qwen3:8b": { preload: true, replicas: 2 }
"""


def starter(
    inventory: Inventory,
    services: Sequence[Service],
    way: Way = Way.LEAVE,
    access: Access = Access.WRITE,
) -> str:
    """The text of a fleet.yaml that loads, and that this machine can place.

    GPUs that are alike form a group with an instance on each; without any there is one instance
    on the CPU. `way` is what is done about servers that run already: only the first of them is
    taken over. `access` is what this user may do with its store.
    """
    sections = (
        _HEAD,
        *(servers.about(service, _of(at, way)) for at, service in enumerate(services)),
        servers.listen(services, way),
        servers.ollama(services, way, access),
        _DEFAULTS,
        "".join(_groups(inventory, way)),
        *servers.instances(services, way),
        _MODELS,
    )
    return "\n".join(sections)


def _of(at: int, way: Way) -> Way:
    return Way.LEAVE if at and way is Way.TAKE_OVER else way


def _groups(inventory: Inventory, way: Way) -> Iterator[str]:
    """None where all GPUs belong to the server behind the fleet: those there are, to uncomment."""
    if way is Way.FRONT:
        yield "groups: [] # the GPUs are the other server's; to share them out, take it over:\n"
        yield comment(*"".join(groups(inventory)).splitlines())
    else:
        yield from groups(inventory)


__all__ = ["MEANS", "Access", "Way", "starter", "to_do"]
