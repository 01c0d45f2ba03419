"""What a simulated server runs on, and how fast models are there. Records only."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ollama_fleet.sim.ollama.jobs import Limits
from ollama_fleet.sim.ollama.rates import Rates, rates_for
from ollama_fleet.sim.ollama.residency import Weights


@dataclass(frozen=True, slots=True)
class Hardware:
    """What a server runs on; `gpu` is None without one.

    `rates` are those of single models, by digest, where they were measured and are not to be
    reckoned from the GPU's.
    """

    gpu: Rates | None
    cpu: Rates
    limits: Limits
    rates: Mapping[str, Rates] = field(default_factory=dict)

    @property
    def usual(self) -> Rates:
        """Of a model that fits."""
        return self.gpu or self.cpu

    def of(self, weights: Weights, vram_bytes: int) -> Rates:
        """Of a model of which so much is on the GPU."""
        measured = self.rates.get(weights.digest)
        if measured is not None:
            return measured
        share = vram_bytes / weights.size_bytes
        return rates_for(self.gpu, self.cpu, share).faster(weights.speed)
