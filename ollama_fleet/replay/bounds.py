"""What no router could do better: lower bounds of the mean latency. Pure.

Two relaxations, each of which drops what makes the problem hard. *No wait*: every request has the
instance to itself that is fastest for it. *Pooled*: all slots are one server, as fast as all of
them together, which serves the request with the least left to do and may interrupt it; Schrage's
rule, which is the best order there is. The mean is at least the greater of the two.
"""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import fmean

from ollama_fleet.names import canonical
from ollama_fleet.replay.job import Fate, Job
from ollama_fleet.replay.layout import Host, Layout
from ollama_fleet.sim.ollama.rates import Rates
from ollama_fleet.sim.ollama.residency import Weights


def lower_bound_s(layout: Layout, fates: Sequence[Fate]) -> float:
    """The least mean latency of jobs that arrived when these did; loads are given for free."""
    asked = {canonical(fate.job.model) for fate in fates}
    weights = {key: w for key, w in layout.weights.items() if key in asked}
    nodes = [_node(host, weights) for host in layout.hosts]
    no_wait_s = fmean(min(node.alone_s(fate.job) for node in nodes) for fate in fates)
    arriving = sorted((fate.arrived_s, _pooled_s(nodes, fate.job)) for fate in fates)
    return max(no_wait_s, _shortest_first_s(arriving))


@dataclass(frozen=True, slots=True)
class _Node:
    """An instance: how many slots can be busy at once, its rates by model, tokens per second."""

    busy: int
    rates: Mapping[str, Rates]
    tokens_per_s: float

    def alone_s(self, job: Job) -> float:
        """How long a job takes that has it to itself."""
        return self._service_s(job, 1)

    def full_s(self, job: Job) -> float:
        """How long a job keeps all of it, as one of as many as it can work on."""
        return self._service_s(job, self.busy) / self.busy

    def _service_s(self, job: Job, busy: int) -> float:
        """Prefill and decode; the first token comes with the prefill.

        Of a prompt that continues a text all may be in a cache but its last token.
        """
        rates = self.rates[canonical(job.model)]
        prompt_tokens = 1 if job.follows is not None else job.prompt_tokens
        return rates.prefill_s(prompt_tokens) + (job.output_tokens - 1) * rates.decode_s(busy)


def _node(host: Host, weights: Mapping[str, Weights]) -> _Node:
    hardware, limits = host.hardware, host.hardware.limits
    sizes = accumulate(sorted(w.size_bytes for w in weights.values()))
    fitting = max(sum(size <= limits.budget_bytes for size in sizes), 1)
    busy = host.spec.slots * min(fitting, limits.max_models or fitting)
    rates = {
        key: hardware.of(w, min(w.size_bytes, limits.budget_bytes)) for key, w in weights.items()
    }
    return _Node(busy, rates, busy / hardware.usual.decode_s(busy))


def _pooled_s(nodes: Sequence[_Node], job: Job) -> float:
    """How long it would keep the one server that all slots together are.

    An instance with every slot busy is as fast as it can be. A job counts for as much as where it
    is least work, so that the pool is never slower at it than the instances are.
    """
    least = min(node.full_s(job) * node.tokens_per_s for node in nodes)
    return least / sum(node.tokens_per_s for node in nodes)


def _shortest_first_s(arriving: Sequence[tuple[float, float]]) -> float:
    """The mean time in a server that always does what has the least left; (arrival, work) in s."""
    left: list[tuple[float, float]] = []  # (work left, arrival)
    total_s, now_s = 0.0, 0.0
    for at_s, work_s in [*arriving, (float("inf"), 0.0)]:
        while left:
            work_left_s, arrived_s = left[0]
            if now_s + work_left_s > at_s:
                heapq.heapreplace(left, (work_left_s - (at_s - now_s), arrived_s))
                break
            now_s += work_left_s
            total_s += now_s - arrived_s
            heapq.heappop(left)
        now_s = at_s
        heapq.heappush(left, (work_s, at_s))
    return total_s / len(arriving)
