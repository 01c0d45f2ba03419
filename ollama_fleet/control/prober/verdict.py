"""What probes say of an instance's health, one after another. Pure."""

from dataclasses import dataclass, replace
from typing import Final

from ollama_fleet.state import Health

_ENOUGH: Final = 2  # answers, or failures, in a row that settle the matter


@dataclass(frozen=True, slots=True)
class Verdict:
    """The health of an instance, and how many of the last probes in a row speak against it."""

    health: Health = Health.UNKNOWN
    contrary: int = 0

    def after(self, *, answered: bool) -> "Verdict":
        """One more probe. The first answer ever counts at once, else it takes two in a row."""
        found = Health.HEALTHY if answered else Health.UNHEALTHY
        if found is self.health:
            return Verdict(found)
        enough = 1 if answered and self.health is Health.UNKNOWN else _ENOUGH
        contrary = self.contrary + 1
        return Verdict(found) if contrary >= enough else replace(self, contrary=contrary)
