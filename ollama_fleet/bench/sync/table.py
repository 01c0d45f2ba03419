"""The rows as people read them. Pure."""

from collections.abc import Sequence

from ollama_fleet.bench.sync.row import Row


def table(rows: Sequence[Row]) -> str:
    """A block per case: what it is, what it was to show, what it showed."""
    lines = []
    for row in rows:
        lines += [f"{row.verdict:<13}{row.case}", f"{'target':>13}  {row.target}"]
        lines += [f"{'found':>13}  {row.found}", ""]
    return "\n".join(lines).rstrip()


def markdown(rows: Sequence[Row]) -> str:
    """The same as a table of Markdown."""
    lines = ["| case | target | found | verdict |", "|---|---|---|---|"]
    lines += [f"| {r.case} | {r.target} | {r.found} | {r.verdict} |" for r in rows]
    return "\n".join(lines)
