"""How fast simulated hardware is: seconds for a load, a prompt and a token. Pure arithmetic."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rates:
    """The speed of one node. A token takes `decode_base_s + decode_per_busy_s * busy slots`."""

    prefill_tokens_per_s: float
    decode_base_s: float
    decode_per_busy_s: float
    load_bytes_per_s: float

    def load_s(self, size_bytes: int) -> float:
        """Seconds to bring a model of this size from disk into memory."""
        return size_bytes / self.load_bytes_per_s

    def prefill_s(self, tokens: int) -> float:
        """Seconds to evaluate so many prompt tokens that are not in the prefix cache."""
        return tokens / self.prefill_tokens_per_s

    def decode_s(self, busy: int) -> float:
        """Seconds for the next token of one stream while `busy` slots work on the server."""
        return self.decode_base_s + self.decode_per_busy_s * busy

    def faster(self, factor: float) -> "Rates":
        """The same node with every duration divided by `factor`."""
        return Rates(
            prefill_tokens_per_s=self.prefill_tokens_per_s * factor,
            decode_base_s=self.decode_base_s / factor,
            decode_per_busy_s=self.decode_per_busy_s / factor,
            load_bytes_per_s=self.load_bytes_per_s * factor,
        )

    def offloaded(self, cpu: "Rates", gpu_share: float) -> "Rates":
        """A model of which only `gpu_share` (0 to 1) of the layers fit: the times add up."""

        def mix(gpu_s: float, cpu_s: float) -> float:
            return gpu_s * gpu_share + cpu_s * (1 - gpu_share)

        return Rates(
            prefill_tokens_per_s=1
            / mix(1 / self.prefill_tokens_per_s, 1 / cpu.prefill_tokens_per_s),
            decode_base_s=mix(self.decode_base_s, cpu.decode_base_s),
            decode_per_busy_s=mix(self.decode_per_busy_s, cpu.decode_per_busy_s),
            load_bytes_per_s=self.load_bytes_per_s,
        )


def rates_for(gpu: Rates | None, cpu: Rates, gpu_share: float) -> Rates:
    """The rates of a model of which so much is on the GPU, 0 to 1."""
    if gpu is None or gpu_share == 0:
        return cpu
    return gpu if gpu_share == 1 else gpu.offloaded(cpu, gpu_share)


def slowest(all_rates: Sequence[Rates]) -> Rates:
    """Several nodes as one server sees them: every step waits for the slowest of them."""
    return Rates(
        prefill_tokens_per_s=min(rates.prefill_tokens_per_s for rates in all_rates),
        decode_base_s=max(rates.decode_base_s for rates in all_rates),
        decode_per_busy_s=max(rates.decode_per_busy_s for rates in all_rates),
        load_bytes_per_s=min(rates.load_bytes_per_s for rates in all_rates),
    )
