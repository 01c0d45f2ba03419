"""Requests that have ended, and what they come to, as tables and as CSV. Pure."""

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from ollama_fleet.cli.table import Column, clean, printable, table
from ollama_fleet.names import DEFAULT_HOST, DEFAULT_NAMESPACE

Document = Mapping[str, Any]

_COLOURS: Final = {
    "completed": "green",
    "refused": "red",
    "broken": "red",
    "incomplete": "yellow",
    "client_gone": "yellow",
}
_COLUMNS: Final = (
    Column("ARRIVED"),
    Column("ID"),
    Column("MODEL"),
    Column("INSTANCE"),
    Column("HOW", colours=_COLOURS),
    Column("STATUS", number=True),
    Column("QUEUE", number=True),
    Column("LOAD", number=True),
    Column("FIRST", number=True),
    Column("TOTAL", number=True),
    Column("PROMPT", number=True),
    Column("OUTPUT", number=True),
)
_MORE: Final = (
    Column("TENANT"),
    Column("ROUTE"),
    Column("TRIED"),
    Column("PREFILL", number=True),
    Column("DECODE", number=True),
    Column("GPU S", number=True),
    Column("WH", number=True),
)
_USED: Final = (
    Column("REQUESTS", number=True),
    Column("ERRORS", number=True),
    Column("PROMPT", number=True),
    Column("OUTPUT", number=True),
    Column("GPU S", number=True),
    Column("WH", number=True),
    Column("MEASURED", number=True),
)
_NESTED: Final = ("scores", "terms")  # what has no place in a row of CSV
_FORMULA: Final = ("=", "+", "-", "@", "＝", "＋", "－", "＠")  # noqa: RUF001 - wide ones, too: what a spreadsheet would carry out
_HOME: Final = f"{DEFAULT_HOST}/{DEFAULT_NAMESPACE}/"


def show_requests(requests: Sequence[Document], *, wide: bool) -> str:
    """A line for each; seconds, and tokens of the prompt and of the output."""
    columns = (*_COLUMNS, *_MORE) if wide else _COLUMNS
    return table(columns, [_row(one, wide=wide) for one in requests])


def show_usage(usage: Sequence[Document], by: Sequence[str]) -> str:
    """A line for each total, behind the names of what it is of."""
    columns = (*(Column(name.upper()) for name in by), *_USED)
    return table(columns, [(*_names(one, by), *_used(one)) for one in usage])


def as_csv(documents: Sequence[Document], fields: Sequence[str]) -> str:
    """A line with the names of the fields, then one for each; lists are joined by blanks.

    Ids and names come from clients: one that a spreadsheet takes for a formula is quoted for it,
    and nothing in one is obeyed by a terminal or ends the line.
    """
    text = io.StringIO()
    names = [name for name in fields if name not in _NESTED]
    writer = csv.DictWriter(text, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for document in documents:
        writer.writerow({name: _cell(value) for name, value in document.items()})
    return text.getvalue().rstrip("\n")


def moment(unix_s: float) -> str:
    """A moment in local time, to the second."""
    return f"{datetime.fromtimestamp(unix_s, UTC).astimezone():%Y-%m-%d %H:%M:%S}"


def seconds(value: float) -> str:
    """Seconds, to the millisecond at the most; nothing for less."""
    return figure(round(value, 3)) if value >= 0.0005 else ""


def figure(value: float) -> str:
    """A figure to three places, and all those before the point."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _row(one: Document, *, wide: bool) -> tuple[object, ...]:
    row = (
        moment(one["arrived_s"]),
        one["id"],
        one["model"],
        one["instance"],
        one["ending"],
        one["status"] or "",
        *(seconds(one[name]) for name in ("queue_s", "load_s", "first_byte_s", "total_s")),
        one["prompt_tokens"],
        one["output_tokens"],
    )
    return (*row, *_more(one)) if wide else row


def _more(one: Document) -> tuple[object, ...]:
    energy_j = one["energy_j"]
    return (
        one["tenant"],
        one["route"],
        " ".join(one["tried"]),
        seconds(one["reported_prefill_s"]),
        seconds(one["reported_decode_s"]),
        seconds(one["gpu_s"]),
        "" if energy_j is None else f"{energy_j / 3600:.3g}",
    )


def _names(one: Document, by: Sequence[str]) -> list[str]:
    names = {**one, "model": str(one["model"]).removeprefix(_HOME)}
    return [clean(str(names[name])) for name in by]


def _used(one: Document) -> tuple[object, ...]:
    energy_wh = one["energy_wh"]
    return (
        one["requests"],
        one["errors"],
        one["prompt_tokens"],
        one["output_tokens"],
        f"{one['gpu_s']:.1f}",
        "" if energy_wh is None else f"{energy_wh:.3g}",
        one["measured"],
    )


def _cell(value: object) -> object:
    if isinstance(value, list | tuple):
        value = " ".join(map(str, value))
    if not isinstance(value, str):
        return value
    text = printable(value)
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text
