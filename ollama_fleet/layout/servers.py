"""Servers that run already: what a starting fleet.yaml does about them. Pure."""

import shlex
from collections.abc import Iterator, Sequence
from enum import StrEnum
from itertools import count

from ollama_fleet.control.service import Service
from ollama_fleet.layout.comments import comment, quoted

_OWN_PORT = 11434
_BESIDE = 11433  # and downwards: instances have the ports from 11435 on


class Way(StrEnum):
    """What to do about a server that runs already."""

    LEAVE = "leave"  # nothing: the file names the ways
    TAKE_OVER = "take-over"  # stop the first of them; the fleet has its port and its models
    SHARE = "share"  # both run, on the same models
    FRONT = "front"  # it goes on, and the fleet passes requests on to it


MEANS = {
    Way.TAKE_OVER: "stop it: the fleet takes its port and its models",
    Way.SHARE: "share its models: both run, the fleet on a port beside it",
    Way.FRONT: "put the fleet in front: it goes on and serves what comes to the fleet's port",
    Way.LEAVE: "leave it: the file says what can be done",
}
"""Each way in words, the one that most people want first."""


def about(service: Service, way: Way) -> str:
    """What it means that this server runs, what was chosen, and how to undo that; as comments."""
    what = f"Ollama {service.version}" if service.version else "Ollama"
    by = f", started by {service.managed_by}" if service.managed_by else ""
    runs = f"{what} already runs at {service.where} (pid {service.pid}, user {service.user}{by})."
    return comment(runs, *_MORE[way](service))


def listen(services: Sequence[Service], way: Way) -> str:
    """Where the fleet is to listen."""
    if way is Way.TAKE_OVER and services:
        host, port = services[0].host or "0.0.0.0", services[0].port  # noqa: S104 - as it did
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        return (
            f"listen: {quoted(address)} # where clients find the fleet: where they found Ollama\n"
        )
    if way in (Way.SHARE, Way.FRONT):
        return f"listen: 127.0.0.1:{port_beside(services)} # where clients find the fleet\n"
    return f"listen: 127.0.0.1:{_OWN_PORT} # where clients find the fleet: Ollama's own address\n"


def port_beside(services: Sequence[Service]) -> int:
    """A port that none of these servers has."""
    taken = {service.port for service in services}
    return next(port for port in count(_BESIDE, -1) if port not in taken)


def ollama(services: Sequence[Service], way: Way, *, writable: bool) -> str:
    """The section `ollama`, with the first server's store if that was chosen and can be written."""
    stores = [
        service.store for service in services if service.store.isprintable() and service.store
    ]
    store = quoted(stores[0]) if stores else "~/.ollama/models"
    whose = "the store of the server that runs" if stores else "the store that all instances share"
    line = f"models: {store} # {whose}\n"
    copy = f"cp -r {shlex.quote(stores[0])}/. ~/.ollama/models/" if stores else ""
    chosen = bool(stores) and way in (Way.TAKE_OVER, Way.SHARE)
    why = (
        comment(
            "This user cannot write to that store, which pulls need. Give it the right to, or copy",
            f"the models, which downloads none again: {copy}",
        )
        if chosen and not writable
        else ""
    )
    shown = line if chosen and writable else comment(line.rstrip("\n"))
    return (
        "ollama:\n  binary: ollama # a name to look up on PATH, or a path\n"
        + "".join(f"  {each}\n" for each in why.splitlines())
        + f"  {shown}"
    )


def instances(services: Sequence[Service], way: Way) -> Iterator[str]:
    """The section `instances`: in force where the fleet is put in front, else to uncomment."""
    left = services[1:] if way is Way.TAKE_OVER else services
    urls = dict.fromkeys(service.base_url for service in left)
    names = (f"ollama-{number}" if number else "ollama" for number in count())
    lines = [
        "instances: # servers that someone else runs, to be used by the fleet too",
        *(
            f"  - {{ name: {name}, url: {quoted(url)} }}"
            for name, url in zip(names, urls, strict=False)
        ),
    ]
    if len(lines) > 1:
        yield "\n".join([*lines, ""]) if way is Way.FRONT else comment(*lines)


def _left(service: Service) -> tuple[str, ...]:
    return (
        "It competes for memory with what the fleet starts, and its port is not free. You can",
        f"- stop it: {service.stop}",
        "- share its models: give `ollama.models` its store, which this user must be able to write",
        "- keep it, with the fleet in front: see `instances`, and give `listen` another port",
    )


def _taken_over(service: Service) -> tuple[str, ...]:
    return (
        f"The fleet takes its place; this stops it: {service.stop}",
        f"To undo that: `fleet down`, then {service.begin}",
    )


def _shared(_service: Service) -> tuple[str, ...]:
    return (
        "The fleet runs beside it on the same models. Both need memory of the same GPUs: what one",
        "has loaded the other cannot have. To undo that, nothing has to be done but `fleet down`.",
    )


def _fronted(service: Service) -> tuple[str, ...]:
    return (
        "The fleet passes requests on to it, and starts no server of its own: see `groups`.",
        f"Clients that are to go through the fleet need its address instead of {service.base_url}.",
        "To undo that, nothing has to be done but `fleet down`.",
    )


_MORE = {
    Way.LEAVE: _left,
    Way.TAKE_OVER: _taken_over,
    Way.SHARE: _shared,
    Way.FRONT: _fronted,
}
