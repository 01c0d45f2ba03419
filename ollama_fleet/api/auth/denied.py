"""A request that is not to be served, because of who asks for it."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

_NONE: Final[Mapping[str, str]] = MappingProxyType({})
CHALLENGE: Final[Mapping[str, str]] = MappingProxyType(
    {"WWW-Authenticate": 'Bearer realm="ollama-fleet"'}
)


class Why(StrEnum):
    """What a caller lacks; a label of a metric."""

    NO_KEY = "no_key"
    UNKNOWN_KEY = "unknown_key"
    EXPIRED_KEY = "expired_key"
    ROLE = "role"
    SWITCHED_OFF = "switched_off"
    MODEL = "model"
    OPTIONS = "options"
    REGISTRY = "registry"
    REQUESTS = "requests"
    TOKENS = "tokens"
    CONCURRENT = "concurrent"


class Denied(Exception):
    """Why it is not served: the status and the text that its client is told, in its own dialect."""

    def __init__(
        self, why: Why, status: int, text: str, headers: Mapping[str, str] = _NONE
    ) -> None:
        super().__init__(text)
        self.why = why
        self.status = status
        self.headers = headers
