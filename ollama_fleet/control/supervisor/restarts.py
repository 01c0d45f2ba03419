"""When a dead instance is started again, and when that is given up. Pure."""

import random
from dataclasses import dataclass, replace

from ollama_fleet.config import SupervisionConfig


@dataclass(frozen=True, slots=True)
class Starts:
    """The starts of an instance that still count, oldest first, and its failures in a row."""

    at_s: tuple[float, ...] = ()
    failures: int = 0

    def started(self, now_s: float, settings: SupervisionConfig) -> "Starts":
        """One more start; those before the window no longer count."""
        recent = (t for t in self.at_s if now_s - t < settings.start_window_s)
        return replace(self, at_s=(*recent, now_s))

    def failed(self, ready_s: float, settings: SupervisionConfig) -> "Starts":
        """The process has ended, or never came up, after it had been ready for `ready_s`."""
        if ready_s >= settings.healthy_after_s:
            return Starts(failures=1)
        return replace(self, failures=self.failures + 1)

    def exhausted(self, now_s: float, settings: SupervisionConfig) -> bool:
        """Whether there were too many starts in too short a time to try again."""
        recent = [t for t in self.at_s if now_s - t < settings.start_window_s]
        return len(recent) >= settings.start_limit


def backoff(failures: int, settings: SupervisionConfig, rng: random.Random) -> float:
    """Seconds to wait after that many failures in a row: between 0 and a bound that doubles.

    The whole range is drawn from, so that instances which died together do not return together.
    """
    doublings = min(failures - 1, 64)  # 2.0**1024 would overflow
    return rng.uniform(0.0, min(settings.backoff_max_s, settings.backoff_first_s * 2.0**doublings))
