"""A study as a table, as text, and as a document. Pure."""

from collections.abc import Iterator, Sequence
from typing import Any

from ollama_fleet.bench.processes.curves import by_load, by_waiting, shares_of
from ollama_fleet.bench.processes.drawing import drawn
from ollama_fleet.bench.processes.figures import CLOSE, Standing, counted
from ollama_fleet.bench.processes.study import Played, Scale
from ollama_fleet.bench.routing.table import holds
from ollama_fleet.cli.table import Column, table
from ollama_fleet.replay.summary import summary

_COLUMNS = (
    Column("SCENARIO"),
    Column("STRATEGY"),
    *(
        Column(title, number=True)
        for title in ("MEAN S", "±", "P50 S", "P99 S", "TTFT S", "P99 TTFT", "TOKENS/S", "LOADS")
    ),
    *(Column(title, number=True) for title in ("MEAN/LC", "P99/LC", "REPLAY S", "OFF")),
    Column("VERDICT", colours={"met": "green"}),
)

_QUIET_CORES = 0.2  # that others may use before it shows


def announced(runs: int, scale: Scale, expected_s: float) -> str:
    """What is about to be done, and how long it will take."""
    minutes, seconds = divmod(round(expected_s), 60)
    took = f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
    return f"{runs} runs of {scale.requests:,} requests, about {took}"


def told(each: Played, scale: Scale) -> str:
    """A run that is over, in a line."""
    turn, outcome = each.turn, each.measured.outcome
    served = counted(outcome, scale)
    mean_s = sum(fate.latency_s for fate in served) / len(served)
    expected = ""
    if each.replayed is not None:
        expected = f", by replay {summary(each.replayed, scale.warm_up).mean_s:.2f} s"
    return f"{turn.case.name}, seed {turn.seed}, {turn.name}: mean {mean_s:.2f} s{expected}"


def is_enough(scale: Scale) -> bool:
    """Whether there is enough to hold it to targets: as much as a study has by default."""
    least = Scale()
    return scale.requests >= least.requests and scale.seeds >= least.seeds


def fails(standing: Standing) -> bool:
    """A target is missed, or a request was lost."""
    return bool(standing.row.missed or standing.row.figures["lost"])


def document(found: Sequence[Standing], scale: Scale) -> dict[str, Any]:
    """As JSON has it; times in simulated seconds."""
    return {
        "requests": scale.requests,
        "seeds": scale.seeds,
        "time_scale": scale.time_scale,
        "warm_up": scale.warm_up,
        "routing": [standing.document() for standing in found],
    }


def text(found: Sequence[Standing], played: Sequence[Played], scale: Scale, *, wide: bool) -> str:
    """For people: the table, what else is to be said, and the curves of what was `played`."""
    parts = [table(_COLUMNS, [_row(standing) for standing in found])]
    if wide:
        parts.append("\n".join(_shares(found)))
    parts += ["\n".join(_notes(found, scale)), *_curves(played, scale)]
    return "\n\n".join(part for part in parts if part)


def _row(standing: Standing) -> tuple[object, ...]:
    row, figures = standing.row, standing.row.figures
    verdict = {None: "", True: "met", False: "missed " + ", ".join(map(str, row.missed))}
    lost = f"{figures['lost']:g} lost" if figures["lost"] else ""
    return (
        row.scenario,
        row.strategy,
        f"{row.mean_s:.2f}",
        _shown(row.mean_ci95_s, ".2f"),
        f"{figures['p50_s']:.2f}",
        f"{row.p99_s:.1f}",
        f"{row.ttft_mean_s:.2f}",
        f"{figures['ttft_p99_s']:.1f}",
        f"{figures['tokens_per_s']:.0f}",
        f"{row.cold_loads:.0f}",
        _shown(row.ratio_mean, ".2f"),
        _shown(row.ratio_p99, ".2f"),
        _shown(standing.replay_mean_s, ".2f"),
        _shown(standing.off, "+.0%"),
        " ".join(filter(None, (lost, verdict[holds(row)]))),
    )


def _shown(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _shares(found: Sequence[Standing]) -> Iterator[str]:
    for standing in found:
        row = standing.row
        by_instance = shares_of(row.figures)
        served = ", ".join(f"{name} {share:.0%}" for name, share in by_instance.items())
        yield f"{row.scenario}, {row.strategy}: {served}"


def _notes(found: Sequence[Standing], scale: Scale) -> Iterator[str]:
    judged = [standing for standing in found if standing.agrees is not None]
    if judged:
        close = sum(bool(standing.agrees) for standing in judged)
        yield f"The replay is within {CLOSE:.0%} of the mean in {close} of {len(judged)} rows."
    late_ms = max(standing.row.figures["late_ms"] for standing in found)
    yield f"The client was at most {late_ms:.0f} ms late with a request."
    others = [s.row.figures["foreign_cores"] for s in found if "foreign_cores" in s.row.figures]
    if others and max(others) > _QUIET_CORES:
        yield f"Others kept up to {max(others):.1f} cores busy: these are times of a busy machine."
    if not is_enough(scale):
        yield "Too few requests or seeds to hold this to a target."


def _curves(played: Sequence[Played], scale: Scale) -> Iterator[str]:
    for family, metrics in by_load(played, scale).items():
        yield f"{family}\n\n{drawn(metrics, 'offered load, requests/s')}"
    for family in dict.fromkeys(each.turn.case.family for each in played):
        own = [each for each in played if each.turn.case.family == family]
        yield f"{family}\n\n{drawn(by_waiting(own, scale), 'requests that wait')}"
