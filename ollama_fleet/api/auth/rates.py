"""So much in so long: a rate as people write it, and the bucket that keeps to it. Pure."""

import re
from dataclasses import dataclass
from typing import Final

_RATE: Final = re.compile(r"([0-9]{1,9})([kKMG]?)/([smhd])")
_TIMES: Final = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9}
_WINDOW_S: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


@dataclass(frozen=True, slots=True)
class Rate:
    """An `amount`, at least 1, of what may be used in `window_s` seconds."""

    amount: int
    window_s: float

    @classmethod
    def parse(cls, text: str) -> "Rate":
        """Read `60/m`, `1M/d`, `500k/h`. Raises ValueError for anything else."""
        found = _RATE.fullmatch(text.strip())
        amount = int(found[1]) * _TIMES[found[2]] if found is not None else 0
        if found is None or not amount:
            raise ValueError(f"{text[:40]!r} is not a rate such as 60/m, 500k/h or 1M/d")
        return cls(amount, _WINDOW_S[found[3]])


class Bucket:
    """What is left of a rate: full at first, refilled evenly, never fuller than its amount.

    It may be overdrawn, for what a request costs is known at its end only. Times are in seconds of
    one monotonic clock.
    """

    __slots__ = ("_at_s", "_left", "rate")

    def __init__(self, rate: Rate, now_s: float) -> None:
        self.rate = rate
        self._left = float(rate.amount)
        self._at_s = now_s

    def left(self, now_s: float) -> float:
        """How much may be used now; below 0 where too much has been."""
        gained = max(0.0, now_s - self._at_s) * self.rate.amount / self.rate.window_s
        self._left = min(float(self.rate.amount), self._left + gained)
        self._at_s = max(now_s, self._at_s)
        return self._left

    def spend(self, amount: float, now_s: float) -> None:
        """Use some, whether it is there or not."""
        self._left = self.left(now_s) - amount

    def wait_s(self, amount: float, now_s: float) -> float:
        """Seconds until so much is there, if nobody takes any."""
        missing = amount - self.left(now_s)
        return max(0.0, missing * self.rate.window_s / self.rate.amount)
