"""How much energy instances have drawn, from what their GPUs read every few seconds. Pure."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ollama_fleet.gpu import GpuSample

GAP_S: Final = 10.0  # between two readings: in a longer one nobody knows what was drawn
_KEPT: Final = 4096  # readings of an instance: two hours and more, at one in two seconds


@dataclass(slots=True)
class _Curve:
    """What an instance has drawn up to each reading, and what it draws since the last."""

    at_s: list[float] = field(default_factory=list)
    drawn_j: list[float] = field(default_factory=list)
    power_w: float = 0.0

    def add(self, now_s: float, joules: float, power_w: float) -> None:
        """One more reading, so many joules after the last."""
        self.drawn_j.append((self.drawn_j[-1] if self.drawn_j else 0.0) + joules)
        self.at_s.append(now_s)
        self.power_w = power_w
        if len(self.at_s) >= 2 * _KEPT:
            del self.at_s[:_KEPT], self.drawn_j[:_KEPT]

    def at(self, moment_s: float) -> float:
        """Joules up to a moment: in proportion between two readings, as last read after them."""
        behind = bisect_right(self.at_s, moment_s)
        if behind == len(self.at_s):
            return self.drawn_j[-1] + self.power_w * (moment_s - self.at_s[-1])
        before = max(behind - 1, 0)
        passed_s = self.at_s[before + 1] - self.at_s[before]
        slope_w = (self.drawn_j[before + 1] - self.drawn_j[before]) / passed_s if passed_s else 0.0
        return self.drawn_j[before] + slope_w * (moment_s - self.at_s[before])


class Energy:
    """What each instance has drawn: the power of its GPUs, integrated by the trapezoid rule.

    `gpus` are the UUIDs of each instance's GPUs. One that several instances use is theirs by the
    slot-seconds that they worked meanwhile, in equal parts where none did.
    """

    def __init__(self, gpus: Mapping[str, Sequence[str]]) -> None:
        self.share(gpus)
        self._curves: dict[str, _Curve] = {}
        self._power_w: dict[str, float] = {}  # at the last reading
        self._worked_s: Mapping[str, float] = {}
        self._read_s = 0.0

    def share(self, gpus: Mapping[str, Sequence[str]]) -> None:
        """Have GPUs belong to other instances from now on."""
        self._gpus = gpus
        self._users: dict[str, list[str]] = {}
        for instance, uuids in gpus.items():
            for uuid in uuids:
                self._users.setdefault(uuid, []).append(instance)

    def learn(self, sample: GpuSample, worked_s: Mapping[str, float], now_s: float) -> None:
        """Take a reading; `worked_s` are the slot-seconds of each instance's work up to now."""
        power_w = {r.uuid: r.power_w for r in sample.readings if r.power_w is not None}
        passed_s = now_s - self._read_s
        if passed_s > GAP_S:
            self._curves.clear()
        last_s = self._worked_s  # a new instance may have the name of one that has worked
        done_s = {n: max(0.0, s - last_s.get(n, 0.0)) for n, s in worked_s.items()}
        for instance, uuids in self._gpus.items():
            if not uuids or any(uuid not in power_w for uuid in uuids):
                self._curves.pop(instance, None)
                continue
            shares = {uuid: self._share(instance, uuid, done_s) for uuid in uuids}
            means_w = {u: (power_w[u] + self._power_w.get(u, power_w[u])) / 2 for u in uuids}
            drawn_w = sum(means_w[uuid] * share for uuid, share in shares.items())
            now_w = sum(power_w[uuid] * share for uuid, share in shares.items())
            curve = self._curves.setdefault(instance, _Curve())
            curve.add(now_s, drawn_w * passed_s if curve.at_s else 0.0, now_w)
        self._power_w, self._worked_s, self._read_s = power_w, worked_s, now_s

    def drawn_j(self, instance: str, from_s: float, to_s: float) -> float | None:
        """Joules from one moment to another; None if it was not measured all the time."""
        curve = self._curves.get(instance)
        if curve is None or to_s - curve.at_s[-1] > GAP_S or from_s < curve.at_s[0]:
            return None
        return curve.at(to_s) - curve.at(from_s)

    def _share(self, instance: str, uuid: str, done_s: Mapping[str, float]) -> float:
        users = self._users[uuid]
        worked_s = sum(done_s.get(user, 0.0) for user in users)
        return done_s.get(instance, 0.0) / worked_s if worked_s > 0 else 1 / len(users)
