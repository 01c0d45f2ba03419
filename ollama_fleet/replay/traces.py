"""Jobs from files: traces of requests as others publish them, and our own history.

A trace is CSV with a header. Its columns go by any of the names below, in any order and spelling;
so Azure's public LLM traces are read as they are. Times are seconds or dates.
"""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from ollama_fleet.errors import FleetError
from ollama_fleet.history import RequestRecord
from ollama_fleet.replay.job import Job

_COLUMNS = {
    "time": ("time", "times", "timestamp", "arrivals", "arrivaltime"),
    "model": ("model", "modelname"),
    "prompt": ("prompttokens", "contexttokens", "inputtokens", "numprompttokens"),
    "output": ("outputtokens", "generatedtokens", "completiontokens", "numoutputtokens"),
    "tenant": ("tenant", "client", "user", "apikey"),
}
_NEEDED = ("time", "prompt", "output")


def read_trace(path: Path, model: str) -> list[Job]:
    """The requests of a trace, in order of arrival, from 0 s on; `model` where it names none.

    Raises FleetError with the file and line of the first mistake.
    """
    with path.open(newline="", encoding="utf-8-sig") as lines:
        reader = csv.reader(lines)
        columns = _columns(next(reader, []), path)
        jobs = [
            _job(row, columns, model, f"{path}:{reader.line_num}") for row in reader if any(row)
        ]
    if not jobs:
        raise FleetError(f"{path}: no request in it")
    return _from_zero(jobs)


def from_history(records: Iterable[RequestRecord]) -> list[Job]:
    """The requests that ran a model to its end, in order of arrival, from 0 s on."""
    jobs = [
        Job(
            arrival_s=record.arrived_s,
            model=record.model,
            prompt_tokens=max(record.prompt_tokens, 1),
            output_tokens=record.output_tokens,
            text=0,
            tenant=record.client,
            stream=record.stream,
        )
        for record in records
        if record.inference and record.output_tokens
    ]
    if not jobs:
        raise FleetError("the history holds no request that ran a model to its end")
    return _from_zero(jobs)


def at_rate(jobs: Sequence[Job], rate_per_s: float) -> list[Job]:
    """The same jobs, nearer together or further apart: so many of them in a second on average."""
    factor = len(jobs) / (rate_per_s * jobs[-1].arrival_s) if jobs[-1].arrival_s else 1.0
    return [replace(job, arrival_s=job.arrival_s * factor) for job in jobs]


def mean_tokens(jobs: Sequence[Job]) -> tuple[float, float]:
    """How long prompts and answers are on average."""
    prompt = sum(job.prompt_tokens for job in jobs) / len(jobs)
    return prompt, sum(job.output_tokens for job in jobs) / len(jobs)


def _from_zero(jobs: list[Job]) -> list[Job]:
    """In order of arrival; each prompt is a text of its own."""
    jobs.sort(key=lambda job: job.arrival_s)
    began_s = jobs[0].arrival_s
    return [
        replace(job, arrival_s=job.arrival_s - began_s, text=text) for text, job in enumerate(jobs)
    ]


def _columns(header: Sequence[str], path: Path) -> dict[str, int]:
    """Where each column stands."""
    names = ["".join(c for c in name.casefold() if c.isalnum()) for name in header]
    found = {
        what: names.index(name)
        for what, known in _COLUMNS.items()
        for name in known
        if name in names
    }
    missing = [what for what in _NEEDED if what not in found]
    if missing:
        known = "; ".join(f"{what}: {', '.join(_COLUMNS[what])}" for what in missing)
        raise FleetError(f"{path}:1: no column for {', '.join(missing)}", f"known names: {known}")
    return found


def _job(row: Sequence[str], columns: dict[str, int], model: str, place: str) -> Job:
    def value(what: str) -> str:
        at = columns.get(what)
        return row[at].strip() if at is not None and at < len(row) else ""

    try:
        return Job(
            arrival_s=_seconds(value("time")),
            model=value("model") or model,
            prompt_tokens=max(int(value("prompt")), 1),
            output_tokens=max(int(value("output")), 1),
            text=0,
            tenant=value("tenant"),
        )
    except ValueError as error:
        raise FleetError(f"{place}: {error}", "a row is a time and two numbers of tokens") from None


def _seconds(text: str) -> float:
    """A number of seconds, or a date and time; of those without a zone all count as one's."""
    try:
        return float(text)
    except ValueError:
        when = datetime.fromisoformat(text)
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
