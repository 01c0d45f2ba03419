"""What a clairvoyant knows: the true rates of every server, and how long each answer will be.

It stands where the fleet has what it learned, so that the same rule can be asked what it would do
if there were nothing to learn. The lengths it reads from the requests, which tell them as the most
tokens that they want (telling.py).
"""

from collections.abc import Callable, Iterable

import msgspec

from ollama_fleet.estimate import Ask, Speed
from ollama_fleet.replay.disturbance import Disturbance, Slowed
from ollama_fleet.replay.layout import Layout
from ollama_fleet.replay.telling import BYTES_PER_TOKEN
from ollama_fleet.sim.ollama.rates import Rates


class Truth:
    """The truth about a layout, at any moment of its replay; `now_s` tells which that is."""

    def __init__(
        self, layout: Layout, disturbances: Iterable[Disturbance], now_s: Callable[[], float]
    ) -> None:
        self._hardware = {host.spec.name: host.hardware for host in layout.hosts}
        self._weights = {w.digest: w for w in layout.weights.values()}
        self._slowed = [each for each in disturbances if isinstance(each, Slowed)]
        self._now_s = now_s
        self._speeds: dict[tuple[str, str], Speed] = {}

    def speed(self, instance: str, weights: str) -> Speed:
        """How fast those weights run there, right now."""
        at = instance, weights
        if at not in self._speeds:
            hardware, model = self._hardware[instance], self._weights[weights]
            in_vram_bytes = min(model.size_bytes, hardware.limits.budget_bytes)
            self._speeds[at] = _speed(hardware.of(model, in_vram_bytes))
        speed = self._speeds[at]
        if not self._slowed:
            return speed
        return Speed(*(self._factor(instance) * s for s in msgspec.structs.astuple(speed)))

    def load_s(self, instance: str, size_bytes: float, *, from_memory: bool = False) -> float:  # noqa: ARG002 - simulated disks are all there is
        """Seconds of a load, once it begins."""
        load_s = self._hardware[instance].usual.load_s(round(size_bytes))
        return load_s * self._factor(instance)

    def remaining_tokens(self, ask: Ask, written: float) -> float:
        """Tokens still to come: its limit is its length."""
        return max(ask.cap_tokens - written, 0.0)

    def prompt_tokens(self, key: str, text_bytes: int) -> float:  # noqa: ARG002 - all count alike
        """Tokens of a prompt."""
        return text_bytes / BYTES_PER_TOKEN

    def _factor(self, instance: str) -> float:
        now_s = self._now_s()
        for slowed in self._slowed:
            if slowed.instance == instance and slowed.from_s <= now_s < slowed.to_s:
                return slowed.factor
        return 1.0


def _speed(rates: Rates) -> Speed:
    return Speed(
        prompt_base_s=0.0,
        prompt_token_s=1 / rates.prefill_tokens_per_s,
        token_base_s=rates.decode_base_s,
        token_busy_s=rates.decode_per_busy_s,
    )
