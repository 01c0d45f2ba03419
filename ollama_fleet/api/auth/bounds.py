"""What a request of a user may ask of an instance: options, context, a model's stay. Pure."""

import math
from dataclasses import dataclass
from typing import Final

from ollama_fleet.router.intake import Wanted


@dataclass(frozen=True, slots=True)
class Bounds:
    """`options` are the runner and sampling options that may be set, None for any.

    `max_context` is in tokens; without `unload` no model may be sent out of memory, now or soon.
    """

    max_context: float = math.inf
    max_keep_alive_s: float = math.inf
    options: frozenset[str] | None = None
    unload: bool = True

    def objection(self, wanted: Wanted) -> str:
        """What is wrong with what a body asks for; "" where nothing is. What is unread is wrong."""
        return self._about_stay(wanted.keep_alive_s) or self._about_options(wanted)

    def _about_stay(self, asked_s: float | None) -> str:
        """Go cuts off what is less than a nanosecond, of either sign, and none is an unload."""
        if asked_s is None:
            return ""
        shortest_s = max(NANOSECOND_S, min(SHORTEST_STAY_S, self.max_keep_alive_s))
        if not self.unload and -NANOSECOND_S < asked_s < shortest_s:
            return _UNLOADING
        if not _stays(asked_s, self.max_keep_alive_s):
            return f"this key may set keep_alive to {self.max_keep_alive_s:g} seconds at most"
        return ""

    def _about_options(self, wanted: Wanted) -> str:
        unwanted = () if self.options is None else sorted(set(wanted.options) - self.options)
        if unwanted:
            named = ", ".join(f"{name[:40]!r}" for name in unwanted[:3])
            return f"this key may not set the options {named}"
        if self.max_context < math.inf and ("num_ctx" in wanted.options or "" in wanted.options):
            context = dict(wanted.profile).get("num_ctx")
            if not isinstance(context, int) or context > self.max_context:
                return f"this key may set num_ctx to {self.max_context:g} at most"
        return ""


SHORTEST_STAY_S: Final = 60.0  # which a model gets whose user may not unload it
NANOSECOND_S: Final = 1e-9
FREE: Final = Bounds()
_UNLOADING: Final = f"this key may not unload models (keep_alive below {SHORTEST_STAY_S:g} seconds)"


def _stays(asked_s: float, most_s: float) -> bool:
    """Whether a stay is within bounds: a negative one is for ever, NaN is one nobody can read."""
    return most_s == math.inf or 0 <= asked_s <= most_s
