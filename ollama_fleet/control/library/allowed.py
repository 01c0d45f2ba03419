"""From where models may be pulled. Pure."""

from collections.abc import Callable, Collection

from ollama_fleet.errors import OllamaError
from ollama_fleet.names import ModelName

ANY = "*"
_FORBIDDEN = 403


class NotFromThere(OllamaError):
    """A registry that models may not be pulled from."""


Allowed = Callable[[ModelName, bool], None]
"""Raises OllamaError for a model, or an `insecure` pull of it, that is not to be."""


def allowed(registries: Collection[str], *, insecure: bool) -> Allowed:
    """A rule: these hosts only (`*` for any), and without TLS only if `insecure`.

    A registry can make an Ollama reach any host and read what it likes of the answer.
    """

    def judge(name: ModelName, without_tls: bool) -> None:  # noqa: FBT001 - the rule's shape
        if ANY not in registries and name.host not in registries:
            raise NotFromThere(
                f"models may not be pulled from {name.host}; "
                f"pulls.registries in fleet.yaml allows {', '.join(registries) or 'none'}",
                _FORBIDDEN,
            )
        if not insecure and (without_tls or name.scheme not in ("", "https")):
            raise OllamaError(
                "pulls without TLS are not allowed; pulls.insecure in fleet.yaml allows them",
                _FORBIDDEN,
            )

    return judge


def anything(_name: ModelName, _without_tls: bool) -> None:  # noqa: FBT001 - the rule's shape
    """No rule."""
