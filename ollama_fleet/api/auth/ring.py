"""The keys that are valid, to be asked who somebody is. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ollama_fleet.api.auth.caller import Caller
from ollama_fleet.api.auth.presented import digest


@dataclass(frozen=True, slots=True)
class KeyRing:
    """Callers by the digests of their keys, which `secret` makes.

    A look-up takes the same time whatever is asked for: nobody without the secret can tell which
    digests share a beginning.
    """

    secret: bytes = b""
    callers: Mapping[bytes, Caller] = field(default_factory=dict)

    def find(self, key: str) -> Caller | None:
        """Whose key it is; one that has expired is somebody's still."""
        return self.callers.get(digest(self.secret, key)) if self.callers else None

    def names(self) -> frozenset[str]:
        """Of all callers."""
        return frozenset(caller.name for caller in self.callers.values())

    def lets_in(self, unix_s: float) -> bool:
        """Whether any key is good at that time."""
        return any(caller.expires_s > unix_s for caller in self.callers.values())


NO_KEYS = KeyRing()
