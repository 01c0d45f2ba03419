"""`fleet pull`: download models for the whole fleet."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import click

from ollama_fleet.cli.completing import model_names, place_names
from ollama_fleet.cli.control import Control, Document, running
from ollama_fleet.cli.leftovers import tell_leftovers
from ollama_fleet.cli.options import Command, Options, pass_options
from ollama_fleet.cli.printing import note, record_text
from ollama_fleet.cli.steps import places
from ollama_fleet.cli.table import Column, clean, table
from ollama_fleet.errors import Exit

Reporter = Callable[[str, Document], None]  # takes a model and one of Ollama's progress records

_OUTCOMES = ("unchanged", "updated", "skipped", "failed")
_COLOURS = {"updated": "green", "skipped": "yellow", "failed": "red"}
_COLUMNS = (Column("MODEL"), Column("OUTCOME", colours=_COLOURS), Column("WAS"), Column("NOW"))
_DIGEST_CHARS = 12  # of a model's digest, as Ollama shows


@click.command(
    "pull",
    cls=Command,
    examples={
        "fleet pull qwen3:8b llama3.1:8b": "two models, for every instance",
        "fleet pull --to gpu-0 mistral:7b": "for one instance only",
        "fleet pull --all": "what is new of all that is there",
    },
)
@click.argument("models", nargs=-1, metavar="MODEL…", shell_complete=model_names)
@click.option("--all", "everything", is_flag=True, help="Pull every model that is there again.")
@click.option("--insecure", is_flag=True, help="Allow a registry without TLS.")
@click.option(
    "--to",
    multiple=True,
    metavar="INSTANCE|GROUP",
    help="Only for these; may be given several times, or with commas.",
    shell_complete=place_names,
)
@pass_options
def command(
    options: Options,
    models: tuple[str, ...],
    *,
    everything: bool,
    insecure: bool,
    to: tuple[str, ...],
) -> int:
    """Download models for the whole fleet, one after another.

    One store downloads, the others get it from there: by link on the same disk, by copy on another,
    over the network on another machine. On a terminal there is a bar for each layer and target;
    elsewhere each progress record is a line of JSON. The exit code is 1 if some instance has not
    got a model; the others have it nevertheless. With --all models that are not from a registry
    which may be asked are left as they are, which is no failure.
    """
    if everything == bool(models):
        raise click.UsageError("name models, or say --all")
    control = running()
    try:
        if everything:
            code = _refresh(options, control.refresh(insecure=insecure, to=places(to)))
        else:
            code = _pull_each(options, control, models, insecure=insecure, to=places(to))
    except KeyboardInterrupt:
        note(options, "\ncancelled; what was downloaded is kept, the next pull goes on from there")
        raise
    if code == Exit.OK:
        tell_leftovers(options, control)  # what a pull has replaced stays
    return code


def describe(outcomes: Sequence[Document]) -> str:
    """What came of each model as a table; below it, why some were skipped, and the counts."""
    rows = [
        (o["model"], o["outcome"], _digests(o.get("was", ())), _digests(o.get("now", ())))
        for o in outcomes
    ]
    whys = [f"{o['model']}: {o['error']}" for o in outcomes if o["outcome"] == "skipped"]
    counts = Counter(o["outcome"] for o in outcomes)
    sums = ", ".join(f"{counts[kind]} {kind}" for kind in _OUTCOMES if counts[kind])
    lines = [*([table(_COLUMNS, rows)] if rows else []), *map(clean, whys)]
    return "\n".join([*lines, sums or "there are no models to pull"])


def _refresh(options: Options, records: Iterator[Document]) -> int:
    """Follow a pull of all that is there; the exit code."""
    outcomes: list[Document] = []
    ended = "the fleet ended before all were pulled"
    with reporter(options) as report:
        for record in records:
            if "model" in record:
                report(str(record["model"]), record)
            if "outcome" in record:
                outcomes.append(record)
            elif "model" not in record:  # the last: it is about them all
                ended = "" if record.get("status") == "success" else str(record["error"])
    if sys.stdout.isatty() and not (options.quiet or options.for_machines):
        click.echo(describe(outcomes))
    failed = [(o["model"], o["error"]) for o in outcomes if o["outcome"] == "failed"]
    for model, error in failed:
        click.echo(f"fleet: {clean(model)}: {clean(error)}", err=True)
    if ended:
        click.echo(f"fleet: {clean(ended)}", err=True)
    return Exit.FAILED if failed or ended else Exit.OK


def _digests(digests: Sequence[str]) -> str:
    return ", ".join(digest[:_DIGEST_CHARS] for digest in digests)


def _pull_each(
    options: Options, control: Control, models: Sequence[str], *, insecure: bool, to: Sequence[str]
) -> int:
    failed: dict[str, str] = {}
    with reporter(options) as report:
        for model in models:
            error = _pull(control, model, report, insecure=insecure, to=to)
            if error:
                failed[model] = error
    for model, error in failed.items():
        click.echo(f"fleet: {model}: {error}", err=True)
    return Exit.FAILED if failed else Exit.OK


def _pull(
    control: Control, model: str, report: Reporter, *, insecure: bool, to: Sequence[str]
) -> str:
    """Why it failed; empty if it did not."""
    last: Document = {}
    for last in control.pull(model, insecure=insecure, to=to):
        report(model, last)
    if last.get("status") == "success":
        return ""
    return str(last.get("error") or "the fleet ended before the download did")


@contextmanager
def reporter(options: Options) -> Iterator[Reporter]:
    """Show progress records: as bars on a terminal, as a program may read them elsewhere."""
    if options.quiet:
        yield lambda _model, _record: None
    elif options.for_machines or not sys.stdout.isatty():
        yield lambda model, record: click.echo(record_text(options, {"model": model, **record}))
    else:
        from ollama_fleet.cli.bars import bars

        with bars() as report:
            yield report
