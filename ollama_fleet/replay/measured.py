"""A layout from the history: the fleet as it was, as fast as its own records say. Pure.

What a record tells of an attempt is learned as the running fleet learns it, and the speeds that
come of it are given to simulated servers. What a record does not tell is left out: models count as
in memory wherever they were served, so that nothing is loaded.
"""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate

from ollama_fleet.errors import FleetError
from ollama_fleet.estimate import Estimates, Observation, Speed
from ollama_fleet.history import RequestRecord
from ollama_fleet.placement import InstanceSpec
from ollama_fleet.replay.hardware import Hardware
from ollama_fleet.replay.layout import FOREVER_S, Host, Layout, digest_of
from ollama_fleet.sim.ollama.jobs import Limits
from ollama_fleet.sim.ollama.profile import Model
from ollama_fleet.sim.ollama.rates import Rates

_ANY_BYTES = 1  # what a model counts: all of them fit


def layout_of(records: Iterable[RequestRecord]) -> Layout:
    """The instances that served these requests, as fast as they were.

    An instance has as many slots as it was seen to serve requests for one model at once. Raises
    FleetError if none was served.
    """
    served = [r for r in records if r.inference and r.instance and r.output_tokens]
    if not served:
        raise FleetError("the history holds no request that ran a model to its end")
    by_instance: dict[str, list[RequestRecord]] = defaultdict(list)
    for record in served:
        by_instance[record.instance].append(record)
    estimates = Estimates()
    for name, own in by_instance.items():
        _learn(estimates, name, own)
    names = {record.key: record.model for record in served}
    models = tuple(Model(name, _ANY_BYTES, "", "", "") for name in names.values())
    hosts = tuple(
        _host(name, number, by_instance[name], estimates, names)
        for number, name in enumerate(sorted(by_instance))
    )
    return Layout("history", hosts, models, resident=tuple(names.values()))


def _learn(estimates: Estimates, name: str, records: Sequence[RequestRecord]) -> None:
    """Learn from an instance's records, in order of their ends."""
    busy = _Busy(records)
    for record in sorted(records, key=_end_s):
        first_s, end_s = record.arrived_s + record.first_byte_s, _end_s(record)
        sent_s = record.arrived_s + record.queue_s + record.load_s
        estimates.learn(
            Observation(
                instance=name,
                weights=record.key,
                key=record.key,
                route=record.route,
                prompt_tokens=record.prompt_tokens,
                output_tokens=record.output_tokens,
                prefill_s=record.reported_prefill_s,
                decode_s=record.reported_decode_s,
                busy=busy.mean(first_s if record.stream else sent_s, end_s),
                sent_to_first_s=first_s - sent_s,
                first_to_last_s=end_s - first_s,
                records=record.records,
            )
        )


class _Busy:
    """How many requests an instance worked on, at any moment."""

    def __init__(self, records: Sequence[RequestRecord]) -> None:
        steps = [(r.arrived_s + r.queue_s + r.load_s, 1) for r in records]
        steps += [(_end_s(r), -1) for r in records]
        steps.sort()
        self._times = [at_s for at_s, _ in steps]
        self._counts = list(accumulate(step for _, step in steps))

    def mean(self, from_s: float, to_s: float) -> float:
        """Between two moments, on average; one at the least."""
        if to_s <= from_s:
            return 1.0
        first, last = bisect_right(self._times, from_s), bisect_left(self._times, to_s)
        total_s, since_s = 0.0, from_s
        for at in range(first, last):
            total_s += self._counts[at - 1] * (self._times[at] - since_s) if at else 0.0
            since_s = self._times[at]
        total_s += (self._counts[last - 1] if last else 0) * (to_s - since_s)
        return max(total_s / (to_s - from_s), 1.0)

    @property
    def most(self) -> int:
        """At one moment."""
        return max(self._counts)


def _host(
    name: str,
    number: int,
    records: Sequence[RequestRecord],
    estimates: Estimates,
    names: Mapping[str, str],
) -> Host:
    by_key: dict[str, list[RequestRecord]] = defaultdict(list)
    for record in records:
        by_key[record.key].append(record)
    slots = max(_Busy(own).most for own in by_key.values())
    rates = {digest_of(names[key]): _rates(estimates.speed(name, key)) for key in names}
    limits = Limits(
        budget_bytes=_ANY_BYTES * len(names),
        parallel=slots,
        max_models=len(names),
        keep_alive_s=FOREVER_S,
    )
    any_rates = next(iter(rates.values()))
    spec = InstanceSpec(name, "history", "127.0.0.1", 11500 + number, slots, "/models")
    return Host(spec, Hardware(any_rates, any_rates, limits, rates))


def _rates(speed: Speed) -> Rates:
    return Rates(
        prefill_tokens_per_s=1 / speed.prompt_token_s if speed.prompt_token_s else float("inf"),
        decode_base_s=speed.token_base_s,
        decode_per_busy_s=speed.token_busy_s,
        load_bytes_per_s=float("inf"),
    )


def _end_s(record: RequestRecord) -> float:
    return record.arrived_s + record.total_s
