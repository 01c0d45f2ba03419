"""Why a request took as long as it did, as people read it. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import click

from ollama_fleet.cli.ended import figure, moment
from ollama_fleet.cli.table import Column, clean, table

Document = Mapping[str, Any]

_BAR: Final = 40
_PARTS: Final = {
    "queue": "waiting for a place",
    "failed": "attempts that came to nothing",
    "load": "waiting for the model to be in memory",
    "prefill": "reading the prompt",
    "decode": "writing the answer",
    "client": "waiting for the client to read on",
    "other": "connecting, sending, passing on",
}
_COLOURS: Final = {
    "queue": "yellow",
    "failed": "red",
    "load": "magenta",
    "prefill": "cyan",
    "decode": "green",
    "client": "blue",
}
_IN_SECONDS: Final = (
    "load",
    "wait",
    "prefill",
    "decode",
)  # terms by which scores are known as such
_PACES: Final = (
    Column("INSTANCE"),
    Column("REQUESTS", number=True),
    Column("PROMPT TOK/S", number=True),
    Column("OUTPUT TOK/S", number=True),
    Column("AT ONCE", number=True),
)


def show_explanation(told: Document, *, block: str = "█") -> str:
    """An ollama_fleet.history.Explanation in parts; `block` is what bars are drawn with."""
    request = told["request"]
    parts = [_head(told), _spent(told["spent"], request["total_s"], block)]
    if request["scores"]:
        parts.append(_scores(request))
    if told["paces"]:
        title = "how instances answered others for that model around that time (medians)"
        parts.append(_titled(title, table(_PACES, [_pace(pace) for pace in told["paces"]])))
    return "\n\n".join(parts)


def _head(told: Document) -> str:
    request = told["request"]
    rows = {
        "request": f"{request['id']}  {request['method']} {request['route']}",
        "model": request["model"],
        "arrived": f"{moment(request['arrived_s'])}, from {request['tenant'] or request['client']}",
        "went to": "  then ".join(_tried(request)) or "no instance",
        "ended": f"{request['ending']}, status {request['status'] or 'none'}",
        "tokens": f"{request['prompt_tokens']} read, {request['output_tokens']} written",
        "cost": _cost(request),
    }
    lines = [f"{name:<9}{clean(str(text))}" for name, text in rows.items()]
    return "\n".join([*lines, click.style(f"{'verdict':<9}{clean(told['verdict'])}", bold=True)])


def _tried(request: Document) -> Iterator[str]:
    for at, instance in enumerate(request["tried"]):
        failed = at < len(request["failures"])
        yield f"{instance} ({request['failures'][at]})" if failed else instance


def _cost(request: Document) -> str:
    energy_j = request["energy_j"]
    energy = "" if energy_j is None else f", {energy_j / 3600:.3g} Wh"
    return f"{figure(request['gpu_s'])} GPU-seconds{energy}"


def _spent(spent: Document, total_s: float, block: str) -> str:
    lines = []
    for name, meaning in _PARTS.items():
        part_s = spent[f"{name}_s"]
        share = part_s / total_s if total_s > 0 else 0.0
        bar = click.style((block * round(share * _BAR)).ljust(_BAR), fg=_COLOURS.get(name))
        lines.append(f"{name:<8}{part_s:>9.3f} s {share:>4.0%}  {bar}  {meaning}")
    lines.append(f"{'in all':<8}{total_s:>9.3f} s")
    seen = "" if spent["reported"] else ", as seen from outside"
    return _titled(f"where its seconds went{seen}", "\n".join(lines))


def _scores(request: Document) -> str:
    """The decision: each instance that was asked, the best first, and what it was short of it."""
    terms = request["terms"]
    reckoned = set(_IN_SECONDS) <= set(terms)
    scores = sorted(request["scores"], key=lambda score: score[1][0])
    chosen = next((figures[0] for name, figures in scores if name == request["instance"]), None)
    columns = [
        Column("INSTANCE"),
        Column("SCORE", number=True),
        Column("AGAINST", number=True),
        *(Column(term.upper(), number=True) for term in terms),
    ]
    rows = [_score(name, figures, request["instance"], chosen) for name, figures in scores]
    unit = "in seconds, " if reckoned else ""
    return _titled(f"why there: {request['strategy']}, {unit}lowest wins", table(columns, rows))


def _score(
    name: str, figures: Sequence[float], instance: str, chosen: float | None
) -> tuple[object, ...]:
    mark = "* " if name == instance else "  "
    short = 0.0 if chosen is None else figures[0] - chosen
    sign = "+" if short >= 0 else ""
    against = "" if chosen is None or name == instance else f"{sign}{figure(short)}"
    value, *terms = map(figure, figures)
    return (f"{name} {mark}", value, against, *terms)


def _pace(pace: Document) -> tuple[object, ...]:
    figures = (pace["prefill_per_s"], pace["decode_per_s"], pace["busy"])
    return (pace["instance"], pace["requests"], *(figure(f) if f else "" for f in figures))


def _titled(title: str, body: str) -> str:
    return "\n".join([f"{title}:", *(f"  {line}" for line in body.splitlines())])
