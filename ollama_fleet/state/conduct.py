"""What the ends of its requests say of an instance, one after another: when it is ejected. Pure."""

import math
from dataclasses import dataclass, replace
from enum import Enum, auto

_DOUBLINGS = 30  # more of them than any bound allows, and no float overflows


class Sign(Enum):
    """What the end of an attempt says of its instance. A client that left says nothing."""

    SERVED = auto()  # it has answered, to the end
    LOST = auto()  # a connection to it was lost before the answer was whole
    REFUSED = auto()  # it took no connection
    ERRED = auto()  # it answered 5xx, or nothing in time, to what another one has answered


@dataclass(frozen=True, slots=True)
class Patience:
    """How many connections, or requests, an instance may fail in a row, and for how long it goes.

    The first ejection lasts `first_s` seconds, each one after it twice as long, at most `most_s`.
    """

    connections: int = 3
    requests: int = 5
    first_s: float = 5.0
    most_s: float = 60.0

    def pause_s(self, ejections: int) -> float:
        """How long an ejection lasts that follows so many others."""
        return min(self.most_s, self.first_s * 2.0 ** min(ejections, _DOUBLINGS))


@dataclass(frozen=True, slots=True)
class Conduct:
    """How an instance has done lately: `lost` connections and `erred` requests in a row.

    `cut`: the last of its connections was lost, not refused. `ejections` in a row, that is without
    an answer in between; `until_s` is when the last is over, in monotonic seconds. One that was
    ejected and has answered nothing since is on probation: its next failure is one too many.
    """

    lost: int = 0
    erred: int = 0
    cut: bool = False
    ejections: int = 0
    until_s: float = -math.inf

    def is_out(self, now_s: float) -> bool:
        """It is ejected."""
        return now_s < self.until_s

    def after(self, sign: Sign, patience: Patience, now_s: float, *, alone: bool) -> "Conduct":
        """One more sign. Who is `alone` is never ejected: there would be nobody left to ask.

        What ends while it is ejected began before, and says nothing new.
        """
        if self.is_out(now_s):
            return self
        if sign is Sign.SERVED:
            return CLEAN
        counted = self._counting(sign)
        if alone or not self._is_enough(counted, sign, patience):
            return counted
        until_s = now_s + patience.pause_s(self.ejections)
        return Conduct(ejections=self.ejections + 1, until_s=until_s)

    def _counting(self, sign: Sign) -> "Conduct":
        if sign is Sign.ERRED:
            return replace(self, erred=self.erred + 1)
        return replace(self, lost=self.lost + 1, cut=sign is Sign.LOST)

    def _is_enough(self, counted: "Conduct", sign: Sign, patience: Patience) -> bool:
        gone = self.cut and sign is Sign.REFUSED  # it has died: nobody listens where it was
        many = counted.lost >= patience.connections or counted.erred >= patience.requests
        return gone or many or self.ejections > 0


CLEAN = Conduct()
"""That of an instance that has failed nothing since its last answer."""
