"""What a run has found, and which of the invariants it broke. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from ollama_fleet.bench.chaos.verdict import Judged, Verdict

SETTLE_S: Final = 2.0
FDS: Final = 5
SLOPE_MIB_PER_MIN: Final = 1.0
LAG_MS: Final = 50.0
IN_VAIN: Final = 3  # strikes of a kind without one that came to something
MACHINE_LAGS: Final = 5.0  # so many times as late as the machine itself a loop may be


@dataclass(frozen=True, slots=True)
class Aftermath:
    """What was left of the fleet when all clients had gone.

    `settled_s` is how long requests were in flight still, None if some were for good; None
    elsewhere: not measured. `machine_lag_p99_ms` is how late a process that does nothing else was.
    """

    settled_s: float | None
    failed_starts: tuple[str, ...]
    unretrieved: int
    fds_grown: int
    processes_left: int
    rss_slope_mib_per_min: float | None
    loop_lag_p99_ms: float | None
    machine_lag_p99_ms: float


@dataclass(frozen=True, slots=True)
class Report:
    """The run as a whole. It holds if no invariant is `broken`."""

    seed: int
    seconds: float
    requests: int
    whole: int
    left: int
    errors: int
    lost: int
    doubled: int
    truncated_as_success: int
    altered: int
    faults: Mapping[str, int]
    missed: Mapping[str, int]
    skipped: Mapping[str, str]
    aftermath: Aftermath
    error_kinds: Mapping[str, int] = field(default_factory=dict)
    wrong: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    holds: bool = False

    def document(self) -> dict[str, Any]:
        """The report as JSON has it: the aftermath's figures among its own."""
        told: dict[str, Any] = {}
        for name, value in asdict(self).items():
            told |= value if name == "aftermath" else {name: value}
        return told


_SHOWN: Final = 20


def report(
    judged: Iterable[Judged],
    aftermath: Aftermath,
    *,
    seed: int,
    seconds: float,
    faults: Mapping[str, int],
    missed: Mapping[str, int],
    skipped: Mapping[str, str],
) -> Report:
    """The report on a run. Of a request that was judged more than once the worst counts."""
    by_number = {one.ask.number: one for one in sorted(judged, key=_severity)}
    counts = Counter(one.verdict for one in by_number.values())
    wrong = [one for one in by_number.values() if one.verdict in UNLAWFUL]
    errors = Counter(one.why for one in by_number.values() if one.verdict is Verdict.ERROR)
    broken = (*_broken(counts, aftermath, faults), *_in_vain(faults, missed))
    return Report(
        seed=seed,
        seconds=round(seconds, 1),
        requests=len(by_number),
        whole=counts[Verdict.WHOLE],
        left=counts[Verdict.LEFT],
        errors=counts[Verdict.ERROR],
        lost=counts[Verdict.LOST],
        doubled=counts[Verdict.DOUBLED],
        truncated_as_success=counts[Verdict.TRUNCATED],
        altered=counts[Verdict.ALTERED],
        faults=dict(faults),
        missed=dict(missed),
        skipped=dict(skipped),
        aftermath=aftermath,
        error_kinds=dict(errors.most_common()),
        wrong=tuple(map(_told, wrong[:_SHOWN])),
        broken=broken,
        holds=not broken,
    )


UNLAWFUL: Final = (Verdict.LOST, Verdict.DOUBLED, Verdict.TRUNCATED, Verdict.ALTERED)


def _severity(one: Judged) -> bool:
    return one.verdict in UNLAWFUL


def _broken(
    counts: Mapping[Verdict, int], aftermath: Aftermath, faults: Mapping[str, int]
) -> Iterable[str]:
    yield from (verdict.value for verdict in UNLAWFUL if counts[verdict])
    if not counts[Verdict.WHOLE] or not sum(faults.values()):
        yield "nothing was tried"
    if aftermath.settled_s is None or aftermath.settled_s > SETTLE_S:
        yield "in flight"
    if aftermath.failed_starts:
        yield "start after a crash"
    if aftermath.unretrieved:
        yield "unretrieved exceptions"
    if aftermath.fds_grown > FDS:
        yield "file descriptors"
    if aftermath.processes_left:
        yield "processes"
    if (aftermath.rss_slope_mib_per_min or 0.0) >= SLOPE_MIB_PER_MIN:
        yield "memory"
    if (aftermath.loop_lag_p99_ms or 0.0) > max(
        LAG_MS, MACHINE_LAGS * aftermath.machine_lag_p99_ms
    ):
        yield "loop lag"


def _in_vain(faults: Mapping[str, int], missed: Mapping[str, int]) -> Iterable[str]:
    """Kinds that were to strike time and again and never have: a run proves nothing of those."""
    never = (kind for kind in missed if missed[kind] >= IN_VAIN and not faults.get(kind))
    return (f"{kind} never struck" for kind in never)


def _told(one: Judged) -> str:
    ask = one.ask
    how = "stream" if ask.stream else "whole"
    return f"{ask.id} {ask.route.value} {how} {ask.manner.value}: {one.verdict.value}: {one.why}"


def table(report: Report) -> str:
    """The report for people: a line per figure, the mappings a line per entry."""
    lines: list[str] = []
    for name, value in report.document().items():
        label = name.replace("_", " ")
        if isinstance(value, Mapping):
            lines.append(f"{label:22}")
            lines += [f"  {key:20} {count}" for key, count in sorted(value.items())]
        elif isinstance(value, tuple):
            lines.append(f"{label:22} {'; '.join(value) or '-'}")
        else:
            lines.append(f"{label:22} {'-' if value is None else value}")
    return "\n".join(lines)
