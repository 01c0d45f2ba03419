"""`fleet restart`: restart instances."""

from collections.abc import Sequence

import click

from ollama_fleet.cli import snapshots
from ollama_fleet.cli.completing import instance_names
from ollama_fleet.cli.control import Control, running
from ollama_fleet.cli.options import Command, Options, pass_options
from ollama_fleet.cli.printing import emit
from ollama_fleet.errors import Exit


@click.command(
    "restart",
    cls=Command,
    examples={
        "fleet restart": "all of them, one after another: also for a new ollama binary",
        "fleet restart gpu-1": "one",
        "fleet restart --together": "all at once, while requests wait",
    },
)
@click.argument("instances", nargs=-1, metavar="[INSTANCE]…", shell_complete=instance_names)
@click.option(
    "--rolling/--together",
    default=True,
    help="One after another, while the others serve; or all at once.  [default: rolling]",
)
@pass_options
def command(options: Options, instances: tuple[str, ...], *, rolling: bool) -> int:
    """Restart instances, all if none is named.

    Each lets its requests in flight end first, starts anew, with the ollama binary that is there
    now, and loads the models again that it had in memory; then it takes requests, and the next one
    has its turn. If one does not come back, those after it are left as they are, and the exit code
    is 1.
    """
    control = running()
    done = control.restart(instances, together=not rolling)
    emit(options, done, lambda: f"restarted: {', '.join(done['restarted']) or 'none'}")
    if not done["failed"]:
        return Exit.OK
    for line in _troubles(control, done["failed"]):
        click.echo(f"fleet: {line}", err=True)
    if done["left"]:
        click.echo(f"fleet: left as they are: {', '.join(done['left'])}", err=True)
    return Exit.FAILED


def _troubles(control: Control, names: Sequence[str]) -> list[str]:
    """Why each of them has not come back."""
    found = snapshots.instances(control.status(), names)
    return [snapshots.describe_trouble(instance) for instance in found]
