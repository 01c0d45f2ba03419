"""How often each model is asked for: how much it would matter if it went out of memory."""

from dataclasses import dataclass
from typing import Final

_NEWEST: Final = 0.1  # what the newest gap between two requests counts for
_REMEMBERED: Final = 1024  # models; clients choose what they ask for


@dataclass(slots=True)
class _Gaps:
    last_s: float
    mean_s: float = 0.0  # 0 until it was asked for twice


class Demand:
    """The gaps between requests for the same model."""

    __slots__ = ("_gaps",)

    def __init__(self) -> None:
        self._gaps: dict[str, _Gaps] = {}

    def asked(self, key: str, now_s: float) -> None:
        """A request for a model has arrived."""
        gaps = self._gaps.pop(key, None)
        if gaps is None:
            gaps = _Gaps(now_s)
        else:
            gap_s = now_s - gaps.last_s
            gaps.mean_s += (gap_s - gaps.mean_s) * (_NEWEST if gaps.mean_s else 1.0)
            gaps.last_s = now_s
        self._gaps[key] = gaps
        if len(self._gaps) > _REMEMBERED:
            del self._gaps[next(iter(self._gaps))]

    def rate_per_s(self, key: str, now_s: float) -> float:
        """Requests per second; less, the longer none has come."""
        gaps = self._gaps.get(key)
        if gaps is None or not gaps.mean_s:
            return 0.0
        return 1 / max(gaps.mean_s, now_s - gaps.last_s)

    def lasting(self, key: str, now_s: float) -> float:
        """How likely it is to be asked for again, 0 to 1: less, the longer it has not been."""
        gaps = self._gaps.get(key)
        if gaps is None:
            return 0.0
        silent_s = now_s - gaps.last_s
        return gaps.mean_s / silent_s if silent_s > gaps.mean_s else 1.0
