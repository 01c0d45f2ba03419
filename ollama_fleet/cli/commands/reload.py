"""`fleet reload`: read fleet.yaml again."""

import click

from ollama_fleet.cli.control import Document, running
from ollama_fleet.cli.options import Command, Options, pass_options
from ollama_fleet.cli.printing import emit

_DONE = ("removed", "restarted", "added", "altered")


@click.command(
    "reload",
    cls=Command,
    examples={
        "fleet reload": "take what fleet.yaml says now",
        "fleet reload --dry-run": "only say what that would come to",
    },
)
@click.option("--dry-run", is_flag=True, help="Check the file and print what would be done.")
@pass_options
def command(options: Options, *, dry_run: bool) -> None:
    """Read fleet.yaml again, and do what is different.

    All of it is checked before anything is changed: a file with a mistake is told of as `fleet
    config check` does, the exit code is 78, and the fleet goes on as it was. Then new instances are
    started, those that would start otherwise are restarted one by one, drained, and those that are
    no longer there are drained and stopped, last unless another waits for their place; the rest is
    not touched. What cannot change while the fleet runs is refused. The file is that of `fleet up`:
    -c is refused, too. SIGHUP does the same.
    """
    if options.config is not None:
        raise click.UsageError("a fleet reads the file that it was started with; leave -c out")
    done = running().reload(dry_run=dry_run)
    emit(options, done, lambda: _show(done))


def _show(done: Document) -> str:
    lines = [f"{what}: {', '.join(done[what])}" for what in _DONE if done[what]]
    lines = lines or ["no instance is touched"]
    return "\n".join([*lines, *([f"changed: {', '.join(done['keys'])}"] if done["keys"] else [])])
