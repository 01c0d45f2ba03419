"""What the records of requests tell of the fleet: bursts of refusals, and anomalies."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Final

from ollama_fleet.control.events.refusals import QUIET_S, Bursts
from ollama_fleet.estimate.anomalies import Anomalies, Change, Measure, Sample
from ollama_fleet.history import Ending, RequestRecord
from ollama_fleet.state import Kind, Notice, State
from ollama_fleet.state.events import Figures

TOGETHER_S: Final = 0.1  # what ends within it is taken in one go: alone, each finds caches cold
TIMED: Final = 8  # of one model on one instance in one look: what ends together is alike
_FEW_TOKENS: Final = 8  # of an answer: their time says more of the clock than of the instance
_NOBODYS_FAULT: Final = frozenset(("ModelMissing", "ClientGone"))
_UNTOLD: Final = (Ending.BROKEN, Ending.CLIENT_GONE)
_WORDS: Final = {
    Measure.FIRST_TOKEN_S: "the first token comes after",
    Measure.TOKEN_S: "a token takes",
    Measure.ERROR_SHARE: "requests fail:",
}


class Noticing:
    """Looks at records as they come, in batches, and tells state what they come to.

    `clock` gives monotonic seconds; `later` calls something on the loop after so many.
    """

    def __init__(
        self,
        state: State,
        *,
        clock: Callable[[], float],
        later: Callable[[float, Callable[[], None]], object],
    ) -> None:
        self._state, self._clock, self._later = state, clock, later
        self._anomalies = Anomalies()
        self._bursts = Bursts()

    def look(self, records: Sequence[RequestRecord]) -> None:
        """Look at the requests that have ended since the last look, `TOGETHER_S` ago."""
        served = defaultdict[str, float](float)  # by instance, seconds within that time
        for record in records:
            served[record.instance] += min(record.total_s - record.queue_s, TOGETHER_S)
        looked = defaultdict[tuple[str, str], int](int)
        for record in records:
            if record.error:
                self._refused(record)
            at = record.instance, record.key
            looked[at] += 1
            busy = self._busy(record, served[record.instance])
            for sample in samples(record, busy, timed=looked[at] <= TIMED):
                for change in self._anomalies.learn(sample):
                    self._state.notice(of_change(change, record))

    def _busy(self, record: RequestRecord, served_s: float) -> int:
        """How many requests its instance had at once.

        Of those that have ended as many as their seconds come to (Little's law: one after another
        is not at once), and those that are still there.
        """
        instance = self._state.instances.get(record.instance)
        ended = max(1, round(served_s / TOGETHER_S))
        return ended + instance.in_flight if instance is not None else ended

    def _refused(self, record: RequestRecord) -> None:
        for notice in self._bursts.refused(record.error, record.model, self._clock()):
            self._state.notice(notice)
            self._later(QUIET_S, self._ask_again)

    def _ask_again(self) -> None:
        for notice in self._bursts.over(self._clock()):
            self._state.notice(notice)
            return
        if self._bursts.on:
            self._later(QUIET_S, self._ask_again)


def samples(record: RequestRecord, busy: int, *, timed: bool = True) -> list[Sample]:
    """What a request says of the instances that had it: each that failed, and the last.

    Of the last also how long it took, where that is to be told (`timed`).
    """
    if not record.inference:
        return []
    untold = record.status >= 400 or record.ending in _UNTOLD
    failed = _who_failed(record) if untold or record.failures else []
    if untold:
        return failed
    first_s, token_s = _times(record) if timed and record.attempts == 1 else (0.0, 0.0)
    last = Sample(
        instance=record.instance,
        model=record.key,
        stream=record.stream,
        prompt_tokens=record.prompt_tokens,
        first_s=first_s,
        token_s=token_s,
        busy=busy,
    )
    return [*failed, last]


def _who_failed(record: RequestRecord) -> list[Sample]:
    """The instances to blame; one that had answered and waited in vain for a place is not."""
    tried, failures = record.tried, record.failures
    names = [n for n, why in zip(tried, failures, strict=False) if why not in _NOBODYS_FAULT]
    broken = record.ending is Ending.BROKEN or record.status >= 500
    if broken and record.ending is not Ending.CLIENT_GONE and len(failures) < len(tried):
        names.append(record.instance)
    return [Sample(instance=name, model=record.key, failed=True) for name in names]


def _times(record: RequestRecord) -> tuple[float, float]:
    """Seconds to the first token and for each that follows; 0 where nobody can tell."""
    first_s = record.reported_prefill_s
    decode_s = record.reported_decode_s
    tokens = record.output_tokens
    if record.stream and record.first_byte_s:
        waited_s = record.queue_s + record.load_s + record.reported_load_s
        first_s = max(record.first_byte_s - waited_s, 0.0)
        decode_s = decode_s or record.total_s - record.first_byte_s
    return first_s, decode_s / tokens if tokens >= _FEW_TOKENS else 0.0


def of_change(change: Change, record: RequestRecord) -> Notice:
    """An anomaly as an event: in words, and with its figures."""
    measure, shift = change.measure, change.shift
    figures: Figures = {
        "measure": str(measure),
        "now": shift.now,
        "usual": shift.usual,
        "requests": shift.requests,
        "learned": shift.learned,
    }
    now, usual = _show(measure, shift.now), _show(measure, shift.usual)
    text = f"{_WORDS[measure]} {now}, usually {usual} (the last {shift.requests} requests)"
    if shift.over:
        text += "; it counts as usual from now on" if shift.accepted else "; as usual again"
    return Notice(
        kind=Kind.ANOMALY_OVER if shift.over else Kind.ANOMALY,
        text=text,
        instance=change.instance,
        model=record.model,
        request=record.id,
        figures=figures,
    )


def _show(measure: Measure, value: float) -> str:
    if measure is Measure.ERROR_SHARE:
        return f"{value:.0%}"
    return f"{value:.2f} s" if value >= 0.1 else f"{1000 * value:.1f} ms"
