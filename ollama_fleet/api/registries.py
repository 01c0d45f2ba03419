"""Which registries a request may have an instance speak to: judged before any instance has it.

An instance connects to wherever a model's name says, inside this network too, and says something of
what it finds there. What is passed on to one in its client's bytes is therefore read here as Go
reads it, whatever else is wrong with it.
"""

import json
from collections.abc import Iterator
from typing import Any, Final

from ollama_fleet.api.auth import Denied, Why
from ollama_fleet.api.bodies import BadBody
from ollama_fleet.control.library.allowed import Allowed
from ollama_fleet.errors import OllamaError
from ollama_fleet.names import ModelName
from ollama_fleet.router.body import Body
from ollama_fleet.router.intake.fields import fold

MOST_BYTES: Final = 1024**2
_NAMED: Final = ("model", "name", "from")


class Members(list[tuple[str, Any]]):
    """The members of an object in their order, repeated ones too."""


def read_members(body: bytes) -> object:
    """The value that a body begins with, as Go's decoder takes it; what follows is ignored.

    Raises ValueError for what that refuses, RecursionError for what is nested too deeply for us.
    """
    value, _ = _DECODER.raw_decode(body.decode(errors="replace").lstrip(" \t\r\n"))
    return value


def require_allowed(may: Allowed, body: bytes | Body) -> None:
    """Raise Denied for a body in which any name is of a registry that is not allowed.

    Raises BadBody for one that is too long or too deep to be read; one that is no JSON has no name
    for Ollama either.
    """
    if not isinstance(body, bytes):
        raise BadBody(413, f"the request body is larger than {MOST_BYTES} bytes")
    try:
        members = read_members(body)
    except RecursionError:
        raise BadBody(400, "the request body is nested too deeply") from None
    except ValueError:
        return
    if isinstance(members, Members):
        insecure = any(fold(key) == "insecure" and value is True for key, value in members)
        for name in _names(members):
            require_registry(may, name, insecure=insecure)


def require_registry(may: Allowed, name: str, *, insecure: bool = False) -> None:
    """Raise Denied if a model of that name may not be asked for; what is no name is nowhere."""
    try:
        may(ModelName.parse(name), insecure)
    except ValueError:
        return
    except OllamaError as error:
        raise Denied(Why.REGISTRY, 403, error.reason) from None


def _names(members: Members) -> Iterator[str]:
    return (value for key, value in members if fold(key) in _NAMED and isinstance(value, str))


def _refuse(literal: str) -> None:
    raise ValueError(f"{literal} is Python's JSON, not Go's")


# A number of any length is one to Go; to Python's int it is not.
_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=Members, parse_constant=_refuse, parse_int=float
)
