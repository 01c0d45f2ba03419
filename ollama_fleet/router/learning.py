"""Learning: what state tells of requests becomes what is known of speeds. Pure but for its clock.

Attempts that end teach, of many of a kind at once some of them, and so do the tokens seen passing
meanwhile: `look`, called about twice a second, notices a GPU that throttles before the answers it
works on have ended.
"""

import math
from collections import defaultdict
from collections.abc import Callable
from itertools import chain, islice
from typing import NamedTuple

import msgspec

from ollama_fleet.errors import Failure
from ollama_fleet.estimate import Bounds, Estimates, Observation, Prefixes, served
from ollama_fleet.router.intake import BLOCK_BYTES
from ollama_fleet.state import Completed, Instance, Lease, Phase, Runner, State, Want

WATCHED = 64  # streams of some weights on an instance: enough to see how fast its tokens come
TELLING = 16  # answers of a kind that end together: enough to see how long such take


class Learning:
    """Keeps `estimates` and `prefixes` up to date. `clock` gives monotonic seconds.

    `later` calls something soon, so that answers which end one after another are learned from in
    one go: alone, each finds the processor's caches cold. Without it each is at once.
    """

    def __init__(
        self,
        state: State,
        estimates: Estimates,
        prefixes: Prefixes,
        *,
        clock: Callable[[], float],
        later: Callable[[Callable[[], None]], object] = lambda learn: learn(),
    ) -> None:
        self._state = state
        self._estimates = estimates
        self._prefixes = prefixes
        self._clock = clock
        self._later = later
        self._ends: list[_End] = []  # not learned from yet
        self._seen: dict[Lease, _Seen] = {}  # at the last look
        self._loads: dict[Want, _Load] = {}
        self._weighed: dict[str, object] = {}  # whose store is known
        state.on_began.append(self._began)
        state.on_outcome.append(self._ended)
        state.on_want.append(self._wanted)
        state.on_load.append(self._load_ended)
        state.on_phase.append(self._phase)
        state.on_change.append(self._weigh)
        self._weigh()

    def catch_up(self) -> None:
        """Learn from the answers that have ended."""
        ends, self._ends = self._ends, []
        for end in _telling(ends):
            seen = _observed(end)
            self._estimates.learn(seen)
            self._limit(end, seen)

    def look(self) -> None:
        """See how fast tokens have come since the last look."""
        now_s, seen = self._clock(), {}
        for instance in self._state.instances.values():
            for weights, runner in instance.runners.items():
                streams = _watched(runner, now_s)
                self._compare(instance, weights, streams)
                seen.update(streams)
        self._seen = seen

    def _compare(self, instance: Instance, weights: str, streams: "dict[Lease, _Seen]") -> None:
        tokens, stream_s = 0, 0.0
        for lease, (count, now_s) in streams.items():
            before, since_s = self._seen.get(lease, (count, now_s))
            tokens += count - before
            stream_s += now_s - since_s
        if stream_s > 0:
            busy = instance.labour.slots
            self._estimates.saw(instance.name, weights, busy=busy, tokens=tokens, stream_s=stream_s)

    # -- requests -------------------------------------------------------------------------------

    def _began(self, lease: Lease) -> None:
        residency, prefix = lease.residency, lease.work.prefix
        if residency is not None and prefix:
            at = lease.instance.name, residency.weights
            lease.cached_bytes = self._prefixes.cached_blocks(*at, prefix) * BLOCK_BYTES
            self._prefixes.sent(*at, prefix, lease.instance.slots_of(residency.weights))

    def _ended(self, lease: Lease, outcome: Completed | Failure) -> None:
        if lease.residency is None or not isinstance(outcome, Completed) or outcome.status >= 400:
            return
        weights, now_s, beside = lease.residency.weights, self._clock(), lease.beside
        worked_s = lease.instance.labour.slot_s(now_s)
        beside_s = beside.slot_s(now_s) if beside is not None else 0.0
        self._ends.append(_End(lease, weights, outcome, now_s, worked_s, beside_s))
        if len(self._ends) == 1:
            self._later(self.catch_up)

    def _limit(self, end: "_End", seen: Observation) -> None:
        """Learn how many requests at once the instance makes something of."""
        lease, instance, weights = end.lease, end.lease.instance, end.weights
        if lease.beside is None or not lease.at_work_s == lease.sent_s < end.now_s:
            return
        bounds = _bounds(instance, weights)
        if weights not in instance.lone and bounds.most > 1:
            busy = (end.beside_s - lease.beside_s) / (end.now_s - lease.sent_s)
            found = served(seen, busy, stream=lease.work.stream)
            slots = self._estimates.limits.learn(instance.name, weights, bounds, found)
            self._state.limit(instance, weights, slots)

    # -- what is in memory ----------------------------------------------------------------------

    def _wanted(self, want: Want) -> None:
        self._prefixes.forget(want.instance.name, want.residency.weights)
        self._loads[want] = _Load(self._clock(), self._is_near(want), _is_next(want))

    def _load_ended(self, want: Want, failure: Failure | None) -> None:
        load = self._loads.pop(want, None)
        runner = want.instance.runners.get(want.residency.weights)
        there = runner is not None and runner.has(want.residency.profile)
        if failure is not None or load is None or not there:
            return
        name, size_bytes, near = want.instance.name, _size_bytes(want), load.from_memory
        load_s = self._clock() - load.since_s
        # With the wait for others in it, it still says that the load took no longer.
        if load.alone or load_s < self._estimates.load_s(name, size_bytes, from_memory=near):
            self._estimates.loaded(name, size_bytes, load_s, from_memory=near)

    def _is_near(self, want: Want) -> bool:
        """Whether the page cache has it: another instance on the same store has it in memory."""
        store, weights = want.instance.spec.store, want.residency.weights
        return any(
            other.spec.store == store
            and weights in other.runners
            and other.runners[weights].resident
            for other in self._state.instances.values()
        )

    def _phase(self, instance: Instance) -> None:
        if instance.phase in (Phase.STOPPED, Phase.STARTING, Phase.BACKOFF, Phase.FAILED):
            self._prefixes.forget(instance.name)

    def resume(self) -> None:
        """Go on with the limits that were found out before a restart."""
        for instance in self._state.instances.values():
            for weights, bounds, slots in self._estimates.limits.of(instance.name):
                if bounds == _bounds(instance, weights):
                    self._state.limit(instance, weights, slots)

    def _weigh(self) -> None:
        for instance in self._state.instances.values():
            if self._weighed.get(instance.name) is not instance.stored:
                self._weighed[instance.name] = instance.stored
                for model in instance.stored.values():
                    self._estimates.weigh(model.weights, model.size_bytes)


_Seen = tuple[int, float]
"""How many tokens of a stream had come, and when."""


def _watched(runner: Runner, now_s: float) -> dict[Lease, _Seen]:
    """The oldest streams that come from there."""
    begun = ((lease, lease.tokens) for lease in runner.leases if lease.tokens and lease.work.stream)
    return {lease: (tokens(), now_s) for lease, tokens in islice(begun, WATCHED)}


class _End(msgspec.Struct, frozen=True, gc=False):
    """An answer that has ended, at `now_s`; what its slot and those beside it had done by then.

    That are slot-seconds, of the instance and of its model there.
    """

    lease: Lease
    weights: str
    outcome: Completed
    now_s: float
    worked_s: float
    beside_s: float


def _telling(ends: list[_End]) -> list[_End]:
    """Those that are enough to learn from, in their order.

    Of many of a kind some, evenly spread: the others say the same of the same moment.
    """
    if len(ends) <= TELLING:
        return ends
    kinds = defaultdict(list)
    for at, end in enumerate(ends):
        lease = end.lease
        kinds[lease.instance.name, lease.key, lease.work.route].append(at)
    telling = (kind[:: math.ceil(len(kind) / TELLING)] for kind in kinds.values())
    return [ends[at] for at in sorted(chain.from_iterable(telling))]


def _observed(end: _End) -> Observation:
    lease, outcome, now_s = end.lease, end.outcome, end.now_s
    work, first_s = lease.work, min(lease.first_s, now_s)
    from_s = first_s if work.stream else min(lease.at_work_s, now_s)
    busy = (end.worked_s - lease.busy_s) / (now_s - from_s) if now_s > from_s else 1.0
    return Observation(
        instance=lease.instance.name,
        weights=end.weights,
        key=lease.key,
        route=work.route,
        prompt_bytes=work.prompt_bytes,
        prompt_tokens=outcome.prompt_tokens,
        output_tokens=outcome.output_tokens,
        load_s=outcome.load_s,
        prefill_s=outcome.prefill_s,
        decode_s=outcome.decode_s,
        busy=max(busy, 1.0),
        cached_tokens=_cached_tokens(lease, outcome),
        sent_to_first_s=first_s - min(lease.sent_s, first_s),
        first_to_last_s=now_s - first_s,
        records=outcome.records,
        whole=outcome.whole,
    )


def _cached_tokens(lease: Lease, outcome: Completed) -> float | None:
    if lease.cached_bytes is None or not lease.work.prompt_bytes:
        return None
    return outcome.prompt_tokens * min(lease.cached_bytes / lease.work.prompt_bytes, 1.0)


def _bounds(instance: Instance, weights: str) -> Bounds:
    """How many slots to begin with, and at most: for what embeds it is found out what pays."""
    slots = instance.spec.slots
    told = 1 if weights in instance.embedders else slots
    return Bounds(told, max(slots, instance.spec.most_slots))


class _Load(NamedTuple):
    """A load that is under way: since when, from the page cache or not, behind nobody or not."""

    since_s: float
    from_memory: bool
    alone: bool


def _is_next(want: Want) -> bool:
    """Whether its instance can begin with it at once, as far as the fleet knows.

    Ollama loads one model at a time, and waits until those are idle that have to go for it.
    """
    runners = want.instance.runners.items()
    others = (runner for weights, runner in runners if weights != want.residency.weights)
    return not any(other.loading or other.in_flight for other in others)


def _size_bytes(want: Want) -> int:
    weights = want.residency.weights
    models = (m for m in want.instance.stored.values() if m.weights == weights)
    return next((model.size_bytes for model in models), 0)
