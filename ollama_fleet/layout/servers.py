"""Servers that run already: what a starting fleet.yaml does about them. Pure."""

import shlex
from collections.abc import Iterator, Sequence
from enum import IntEnum, StrEnum
from itertools import count

from ollama_fleet.config.address import Address
from ollama_fleet.control.service import Service
from ollama_fleet.layout.comments import comment, quoted

_OWN_PORT = 11434
_OWN_URL = f"http://127.0.0.1:{_OWN_PORT}"
_BESIDE = 11433  # and downwards: instances have the ports from 11435 on

_OPEN = """\
# Others can reach that, so `fleet up` wants a key first: `fleet keys add NAME --role admin`.
# insecure_no_auth: true # instead: whoever can reach it is let in, as Ollama did
"""


class Way(StrEnum):
    """What to do about a server that runs already."""

    LEAVE = "leave"  # nothing: the file names the ways
    TAKE_OVER = "take-over"  # stop the first of them; the fleet has its port and its models
    SHARE = "share"  # both run, on the same models
    FRONT = "front"  # it goes on, and the fleet passes requests on to it


class Access(IntEnum):
    """What this user may do with a store."""

    NONE = 0
    READ = 1
    WRITE = 2


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
    """Where the fleet is to listen, and who is let in there."""
    if way is Way.TAKE_OVER and services:
        address = address_of(services[0])
        text = quoted(str(address))
        line = f"listen: {text} # where clients find the fleet: where they found Ollama\n"
        return line if address.is_loopback else line + _OPEN
    port = port_beside(services) if way in (Way.SHARE, Way.FRONT) else _OWN_PORT
    own = "" if port != _OWN_PORT else ": Ollama's own address"
    return f"listen: 127.0.0.1:{port} # where clients find the fleet{own}\n"


def address_of(service: Service) -> Address:
    """Where a server listens, for one that takes its place."""
    return Address(service.host or "0.0.0.0", service.port)  # noqa: S104 - as it does


def port_beside(services: Sequence[Service]) -> int:
    """A port that none of these servers has."""
    taken = {service.port for service in services}
    return next(port for port in count(_BESIDE, -1) if port not in taken)


def takes_store(services: Sequence[Service], way: Way, access: Access) -> bool:
    """Whether the fleet is to use the store of the first server."""
    wanted = way in (Way.TAKE_OVER, Way.SHARE) and _store(services) != ""
    return wanted and access is Access.WRITE


def ollama(services: Sequence[Service], way: Way, access: Access) -> str:
    """The section `ollama`, with the first server's store if that was chosen and can be written."""
    store = _store(services)
    whose = "the store of the server that runs" if store else "the store that all instances share"
    line = f"models: {quoted(store) if store else '~/.ollama/models'} # {whose}\n"
    shown = line if takes_store(services, way, access) else comment(line.rstrip("\n"))
    why = comment(*_without(services, way, access)).splitlines()
    return "ollama:\n  binary: ollama # a name to look up on PATH, or a path\n" + "".join(
        f"  {each}\n" for each in (*why, shown.rstrip("\n"))
    )


def instances(services: Sequence[Service], way: Way) -> Iterator[str]:
    """The section `instances`: in force where the fleet is put in front, else to uncomment.

    In front of none that runs yet it is where Ollama will be unless told otherwise.
    """
    left = services[1:] if way is Way.TAKE_OVER else services
    urls = dict.fromkeys(service.base_url for service in left)
    if way is Way.FRONT and not urls:
        urls = {_OWN_URL: None}
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


def _store(services: Sequence[Service]) -> str:
    return services[0].store if services and services[0].store.isprintable() else ""


def _without(services: Sequence[Service], way: Way, access: Access) -> Iterator[str]:
    """Why the store that was wanted is not used, and how to have its models all the same."""
    if way not in (Way.TAKE_OVER, Way.SHARE) or not services:
        return
    store = _store(services)
    if store and access is not Access.WRITE:
        may = "write to its store, which pulls need" if access is Access.READ else "read its store"
        copy = f"cp -r {shlex.quote(store)}/. ~/.ollama/models/"
        if access is Access.NONE:
            copy = f'sudo {copy} && sudo chown -R "$(id -un)" ~/.ollama/models'
        yield f"This user cannot {may}: {store}. Give it the right to, or copy"
        yield f"the models, which downloads none again: mkdir -p ~/.ollama/models && {copy}"
    elif services[0].mounts:
        yield "Its models lie in its container. This tells in which folder of the machine; give"
        yield f"that to `models`: {services[0].mounts}"
    elif not store:
        yield "Where its models lie could not be found out."


def to_do(services: Sequence[Service], way: Way, access: Access) -> Iterator[str]:
    """What is left to do before the fleet is what was chosen."""
    if any(_without(services, way, access)):
        yield "its models are not the fleet's yet: see `models` there"
    if way is Way.TAKE_OVER and services and not address_of(services[0]).is_loopback:
        yield (
            f"others can reach {address_of(services[0])}: `fleet keys add NAME --role admin` makes"
            " the key that `fleet up` wants, or see `insecure_no_auth` there"
        )


def _left(service: Service) -> Iterator[str]:
    yield "It competes for memory with what the fleet starts, and its port is not free. You can"
    if service.stop:
        yield f"- stop it: {service.stop}"
    if service.store:
        yield (
            "- share its models: give `ollama.models` its store, which this user must be able to"
            " write"
        )
    yield "- keep it, with the fleet in front: see `instances`, and give `listen` another port"


def _taken_over(service: Service) -> Iterator[str]:
    yield f"The fleet takes its place; this stops it: {service.stop}"
    yield f"To undo that: `fleet down`, then {service.begin}"
    if service.settings:
        yield f"It ran with {shlex.join(service.settings)}"
        yield "What of that is to stay has keys here: docs/configuration.md#defaults"
    if service.managed_by:
        yield "Nothing starts the fleet with the machine yet: have a unit run `fleet up --no-tui`."


def _shared(_service: Service) -> Iterator[str]:
    yield "The fleet runs beside it. Both need memory of the same GPUs: what one has loaded the"
    yield "other cannot have. Whenever that server starts it removes what the fleet is downloading,"
    yield "unless given OLLAMA_NOPRUNE=1. To undo that, nothing has to be done but `fleet down`."


def _fronted(service: Service) -> Iterator[str]:
    yield "The fleet passes requests on to it, and starts no server of its own: see `groups`."
    yield (
        f"Clients that are to go through the fleet need its address instead of {service.base_url}."
    )
    yield "To undo that, nothing has to be done but `fleet down`."


_MORE = {
    Way.LEAVE: _left,
    Way.TAKE_OVER: _taken_over,
    Way.SHARE: _shared,
    Way.FRONT: _fronted,
}
