"""Who is left out for having failed requests, and who is only just back. No clock: times are told.

Both are preferences. What nobody else can do is asked of an ejected instance, too, and who is only
just back is spared only while another one could start the request at once.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ollama_fleet.state.instance import Instance


@dataclass(frozen=True, slots=True)
class Ejection:
    """Why an instance is given no requests, and until when (monotonic seconds)."""

    cause: str
    until_s: float


class Rotation:
    """The ejected, and the newcomers: `slow_start_s` is how long one of those counts as such.

    `changed` is told that there is somebody more, or less, to ask.
    """

    __slots__ = ("_changed", "_since_s", "_warm_s", "ejected", "slow_start_s")

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self.ejected: dict[Instance, Ejection] = {}
        self.slow_start_s = 0.0
        self._since_s: dict[Instance, float] = {}  # when the newcomers came
        self._warm_s = -math.inf  # from then on there are none

    def eject(self, instance: Instance, ejection: Ejection) -> None:
        """Leave it out, where another one can be asked."""
        self.ejected[instance] = ejection
        self._changed()

    def readmit(self, instance: Instance) -> None:
        """Let it in again; nothing if it is not out."""
        if self.ejected.pop(instance, None) is not None:
            self._changed()

    def begin(self, instance: Instance, now_s: float) -> None:
        """It is given requests from now on, few at once to begin with."""
        self._since_s[instance] = now_s
        self._warm_s = max(self._warm_s, now_s + self.slow_start_s)

    def leave(self, instance: Instance) -> None:
        """It is no more."""
        self.ejected.pop(instance, None)
        self._since_s.pop(instance, None)

    def kept(self, pool: Sequence[Instance]) -> Sequence[Instance]:
        """Those of a pool that are not ejected; all, where nobody is left."""
        return (self.without(pool) or pool) if self.ejected else pool

    def without(self, pool: Sequence[Instance]) -> Sequence[Instance]:
        """Those of a pool that are not ejected, be it nobody."""
        return [i for i in pool if i not in self.ejected] if self.ejected else pool

    def settled(self, now_s: float) -> bool:
        """Nobody is new."""
        return now_s >= self._warm_s

    def share(self, instance: Instance, now_s: float) -> float:
        """How many requests it is to have at once by now: one more with time, then without end."""
        here_s = now_s - self._since_s.get(instance, -math.inf)
        if here_s >= self.slow_start_s:
            return math.inf
        return max(1, int(instance.slots * here_s / self.slow_start_s))
