"""What moves on the terminal: a bar for each layer that is downloaded, a line for each load."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from ollama_fleet.cli.printing import may_colour
from ollama_fleet.cli.table import clean

_DIGEST_CHARS = 12  # of a layer's digest, as Ollama shows


@contextmanager
def bars(console: Console | None = None) -> Iterator[Callable[[str, Mapping[str, Any]], None]]:
    """Draw on stderr while the block runs; yields what takes a model's progress records."""
    console = console or Console(stderr=True, no_color=True if not may_colour() else None)
    with _progress(console) as progress:
        tasks: dict[tuple[str, str, str], TaskID] = {}
        told: dict[str, str] = {}

        def report(model: str, record: Mapping[str, Any]) -> None:
            digest, total = record.get("digest"), record.get("total")
            completed = record.get("completed")
            if isinstance(digest, str) and isinstance(total, int):
                key = model, digest, str(record.get("target") or "")
                if key not in tasks:
                    tasks[key] = progress.add_task(_layer(*key), total=total)
                progress.update(
                    tasks[key], completed=completed if isinstance(completed, int) else 0
                )
                return
            status = clean(str(record.get("status") or ""))
            if status and told.get(model) != status:
                told[model] = status
                progress.console.print(Text(f"{clean(model)}: {status}"))

        yield report


@contextmanager
def spinners(console: Console | None = None) -> Iterator[Callable[[str, str], None]]:
    """Draw on stderr while the block runs; yields what takes who does what, "" for nothing more."""
    console = console or Console(stderr=True, no_color=True if not may_colour() else None)
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        tasks: dict[str, TaskID] = {}

        def show(who: str, what: str) -> None:
            if who in tasks:
                progress.remove_task(tasks.pop(who))
            if what:
                tasks[who] = progress.add_task(what, total=None)

        yield show


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(compact=True),
        console=console,
    )


def _layer(model: str, digest: str, target: str) -> str:
    to = f" to {clean(target)}" if target else ""
    return f"{clean(model)} {clean(digest).removeprefix('sha256:')[:_DIGEST_CHARS]}{to}"
