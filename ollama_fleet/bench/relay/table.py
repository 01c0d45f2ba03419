"""The rows of the relay bench as text, for a terminal or for a page of documentation. Pure."""

from collections.abc import Iterable, Sequence

from ollama_fleet.bench.relay.figures import Row, Target

_COLUMNS = (
    ("workload", "workload"),
    ("proxy", "proxy"),
    ("cpu_s_per_million_chunks", "CPU s/1M chunks"),
    ("cpu_s_per_10k_requests", "CPU s/10k req"),
    ("req_per_s", "req/s"),
    ("chunks_per_s", "chunks/s"),
    ("added_ttft_p50_ms", "+TTFT p50 ms"),
    ("added_ttft_p99_ms", "p99 ms"),
    ("added_lag_p50_ms", "+lag p50 ms"),
    ("added_lag_p99_ms", "p99 ms"),
    ("memory_kib_per_stream", "KiB/stream"),
    ("errors", "errors"),
    ("altered", "altered"),
    ("ratio_to_nginx", "x nginx"),
    ("ratio_to_iter_any", "x iter_any"),
    ("foreign_cores", "foreign"),
)


def table(rows: Iterable[Row], targets: Iterable[Target], notes: Iterable[str]) -> str:
    """Rows, then what they say of the targets, then what else there is to say."""
    return "\n".join((*_aligned(_rows(rows)), "", *_aligned(_judged(targets)), *notes))


def markdown(rows: Iterable[Row], targets: Iterable[Target], notes: Iterable[str]) -> str:
    """The same as a page of documentation has it."""
    said = [f"- {note}" for note in notes]
    parts = (_piped(_rows(rows)), _piped(_judged(targets)), said)
    return "\n\n".join("\n".join(part) for part in parts if part)


def _rows(rows: Iterable[Row]) -> list[list[str]]:
    cells = [[_cell(getattr(row, name)) for name, _ in _COLUMNS] for row in rows]
    return [[title for _, title in _COLUMNS], *cells]


def _judged(targets: Iterable[Target]) -> list[list[str]]:
    return [["target", "limit", "value", "verdict"], *([*_target(target)] for target in targets)]


def _target(target: Target) -> tuple[str, str, str, str]:
    name = f"{target.workload} {target.figure}"
    verdict = {True: "met", False: "MISSED", None: "not measured"}[target.met]
    return name, _cell(target.limit), _cell(target.value), verdict


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)


def _aligned(cells: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    names = _names(cells[0])
    return [
        "  ".join(
            cell.ljust(width) if at in names else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]


def _piped(cells: Sequence[Sequence[str]]) -> list[str]:
    names = _names(cells[0])
    rule = ["---" if at in names else "---:" for at in range(len(cells[0]))]
    return [f"| {' | '.join(line)} |" for line in (cells[0], rule, *cells[1:])]


def _names(header: Sequence[str]) -> frozenset[int]:
    """The columns that hold words: the others hold figures."""
    return frozenset((0, 1) if len(header) == len(_COLUMNS) else (0, 3))
