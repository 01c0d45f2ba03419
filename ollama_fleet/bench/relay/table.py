"""The rows of the relay bench as text. Pure."""

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
    ("memory_kib_per_stream", "KiB/stream"),
    ("errors", "errors"),
    ("altered", "altered"),
    ("ratio_to_nginx", "x nginx"),
    ("ratio_to_iter_any", "x iter_any"),
    ("foreign_cores", "foreign"),
)


def table(rows: Iterable[Row], targets: Iterable[Target], notes: Iterable[str]) -> str:
    """Rows, then what they say of the targets, then what else there is to say."""
    cells = [[title for _, title in _COLUMNS]]
    cells += [[_cell(getattr(row, name)) for name, _ in _COLUMNS] for row in rows]
    judged = [["target", "limit", "value", "verdict"]]
    judged += [[*_target(target)] for target in targets]
    return "\n".join((*_aligned(cells), "", *_aligned(judged), *notes))


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
    names = {at for at in range(2) if len(cells[0]) > 4} or {0, 3}
    return [
        "  ".join(
            cell.ljust(width) if at in names else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]
