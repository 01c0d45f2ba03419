"""Who asks, and what may be asked: what a key, or the want of one, comes to. Pure."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self

from ollama_fleet.api.auth.bounds import FREE, Bounds
from ollama_fleet.api.auth.rates import Rate
from ollama_fleet.names import ModelName, is_cloud
from ollama_fleet.router.intake import Priority

_ANY_TAG: Final = ":*"


class Role(StrEnum):
    """What a caller may do: users talk to models, admins change what there is."""

    USER = "user"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Models:
    """Models by their keys, and families, of which any tag will do. None named: all there are."""

    keys: frozenset[str] = frozenset()
    families: frozenset[str] = frozenset()

    @classmethod
    def named(cls, names: Iterable[str]) -> Self:
        """Read names such as `qwen3:8b` and `qwen3:*`. Raises ValueError for what is none."""
        keys, families = set(), set()
        for name in names:
            if name.endswith(_ANY_TAG):
                families.add(_family(ModelName.parse(name.removesuffix(_ANY_TAG)).key))
            else:
                keys.add(ModelName.parse(name).key)
        return cls(frozenset(keys), frozenset(families))

    def __bool__(self) -> bool:
        return bool(self.keys or self.families)

    def allow(self, key: str) -> bool:
        """Whether a model may be used; "", a model that cannot be read, only where all may."""
        return not self or key in self.keys or _family(key) in self.families


@dataclass(frozen=True, slots=True)
class Caller:
    """A key's owner; who needs no key has no `name` and may do all.

    `priority` is the best class it gets. `requests` and `tokens` are what it may use in some time,
    `concurrent` how many of its requests may be on their way. `expires_s` is Unix time.
    """

    name: str = ""
    role: Role = Role.ADMIN
    models: Models = Models()
    priority: Priority = Priority.HIGH
    requests: Rate | None = None
    tokens: Rate | None = None
    concurrent: float = math.inf
    expires_s: float = math.inf
    bounds: Bounds = FREE

    @property
    def is_metered(self) -> bool:
        """Whether its requests have to be counted."""
        return self.requests is not None or self.tokens is not None or self.concurrent < math.inf

    def may_use(self, key: str) -> bool:
        """Whether the model of a key is for it, to see and to ask.

        One of Ollama's cloud spends the account that the fleet is signed in to: it is for admins,
        and for keys that name it: any tag of a family does not mean those that cost money.
        """
        if is_cloud(key) and self.role is not Role.ADMIN:
            return key in self.models.keys
        return self.models.allow(key)


ANYONE: Final = Caller()


def _family(key: str) -> str:
    return key.rpartition(":")[0]
