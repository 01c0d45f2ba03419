"""The front of a running fleet: Ollama's API on the address that the configuration names."""

import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from time import time

import psutil

from ollama_fleet.api.app import Api
from ollama_fleet.api.auth import Gate
from ollama_fleet.api.connection import Crowd, Front, Tls
from ollama_fleet.api.guests import Door, Origins, is_loopback
from ollama_fleet.api.parts import Parts, Pulls
from ollama_fleet.api.proxies import Proxies
from ollama_fleet.api.underway import UnderWay
from ollama_fleet.api.visit import RequestIds
from ollama_fleet.config import Config
from ollama_fleet.control.library import allowed
from ollama_fleet.control.mutations import Mutations
from ollama_fleet.errors import Limit
from ollama_fleet.fleet.limiting import make_bounds, make_limits, most_connections, of_each
from ollama_fleet.router.relay import Relay
from ollama_fleet.state import State


def make_parts(
    config: Config,
    state: State,
    *,
    relay: Relay,
    mutations: Mutations,
    library: Pulls,
    unload: Callable[[str, str], Awaitable[None]],
    spool: Path,
    refused: Callable[[Limit], None],
) -> Parts:
    """What its handlers work with; large bodies are kept in the folder `spool` meanwhile.

    `refused` is told of every limit that a client has run into.
    """
    limits = make_limits(config.limits, spool)
    may = allowed(config.pulls.registries, insecure=config.pulls.insecure)
    under_way = UnderWay(of_each(config.limits.requests_per_client))
    return Parts(state, relay, mutations, limits, library, unload, may, under_way, refused)


def make_front(
    config: Config,
    parts: Parts,
    gate: Gate,
    answered: Callable[[str, int], None],
    tls: Tls | None = None,
) -> Front:
    """Put it together; it listens when it is entered. `answered` is the Api's."""
    hostnames = frozenset((socket.gethostname().lower(),))
    door = Door(
        Origins(config.origins),
        hostnames if is_loopback(config.listen.host) else None,
        own_addresses,
    )
    proxies = Proxies(config.trusted_proxies)
    salt = Random().getrandbits(32)  # noqa: S311 - tells two starts in one second apart, no more
    api = Api(parts, door, RequestIds(time(), salt), gate, answered=answered)
    return Front(
        api.handle,
        config.listen.host,
        config.listen.port,
        bounds=make_bounds(config.limits),
        drain_s=config.supervision.drain_timeout_s,
        crowd=Crowd(*most_connections(config, len(parts.state.instances), proxies.__contains__)),
        refused=parts.refused,
        tls=tls,
        client_of=proxies.client,
    )


def retune_front(config: Config, front: Front, parts: Parts) -> None:
    """Have it go by another configuration, as far as that can change while it serves."""
    instances, proxies = len(parts.state.instances), Proxies(config.trusted_proxies)
    front.crowd.retune(*most_connections(config, instances, proxies.__contains__))
    front.drain_s = config.supervision.drain_timeout_s
    parts.under_way.retune(of_each(config.limits.requests_per_client))


def own_addresses() -> frozenset[str]:
    """This machine's own addresses, on whatever interface."""
    found = (a.address for of_one in psutil.net_if_addrs().values() for a in of_one)
    return frozenset(address.partition("%")[0] for address in found)
