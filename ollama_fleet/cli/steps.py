"""Following loads and unloads: what each instance does, and how it ended there."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import click

from ollama_fleet.cli.completing import place_names
from ollama_fleet.cli.options import Options
from ollama_fleet.cli.printing import emit, note
from ollama_fleet.cli.table import clean
from ollama_fleet.errors import Exit

Step = Mapping[str, Any]
Reporter = Callable[[Step], None]
FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

_UNDER_WAY: Final = ("loading", "unloading")
_WHOLLY: Final = 0.95  # of the weights: from there on it is told as all of them


def follow(options: Options, model: str, steps: Iterator[Step]) -> int:
    """Show the steps as they come, and at the end each instance on a line; the exit code."""
    last: dict[str, Step] = {}
    with _reporter(options) as tell:
        for step in steps:
            last[step["instance"]] = step
            tell(step)
    ended = [_lost(step) if step["step"] in _UNDER_WAY else step for step in last.values()]
    failed = [step for step in ended if step["step"] == "failed"]
    lines = [describe(step) for step in ended if step not in failed]
    if lines or options.for_machines:
        emit(options, {"model": model, "instances": ended}, lambda: "\n".join(lines))
    for step in failed:
        click.echo(f"fleet: {describe(step)}", err=True)
    return Exit.FAILED if failed else Exit.OK


def describe(step: Step) -> str:
    """A step in words: `gpu-0: loaded in 3.2 s, from disk`."""
    name, took = clean(step["instance"]), f"{step['seconds']:.1f} s"
    words = {
        "loading": "loading",
        "loaded": f"loaded in {took}{_source(step['cached_ratio'])}",
        "resident": "it was in memory already",
        "unloading": "unloading, as soon as nobody uses it",
        "unloaded": f"unloaded in {took}",
        "absent": "it was not in memory",
        "failed": clean(str(step["error"])),
    }
    return f"{name}: {words[step['step']]}"


def on(does: str) -> Callable[[FunctionT], FunctionT]:
    """The option that names where a command does what it does; `places` reads its values."""
    return click.option(
        "--on",
        multiple=True,
        metavar="INSTANCE|GROUP",
        help=f"{does} it there only; may be given several times, or with commas.",
        shell_complete=place_names,
    )


def places(texts: Sequence[str]) -> list[str]:
    """The names in the values of an option that may be given several times, or with commas."""
    return [name for text in texts for part in text.split(",") if (name := part.strip())]


def _source(cached_ratio: float | None) -> str:
    """Where the weights came from, as far as that can be told."""
    if cached_ratio is None:
        return ""
    if cached_ratio >= _WHOLLY:
        return ", from memory (the page cache had it)"
    if cached_ratio <= 1 - _WHOLLY:
        return ", from disk"
    return f", {cached_ratio:.0%} of it from memory, the rest from disk"


def _lost(step: Step) -> Step:
    return {**step, "step": "failed", "error": "the fleet ended before it was done"}


@contextmanager
def _reporter(options: Options) -> Iterator[Reporter]:
    """On a terminal a line for each instance that moves; elsewhere a note when it begins."""
    if options.quiet or options.for_machines:
        yield lambda _step: None
    elif not sys.stderr.isatty():
        yield lambda step: note(options, describe(step)) if step["step"] in _UNDER_WAY else None
    else:
        from ollama_fleet.cli.bars import spinners

        with spinners() as show:
            yield lambda step: show(
                step["instance"], describe(step) if step["step"] in _UNDER_WAY else ""
            )
