"""`fleet restart`: restart instances."""

import click

from ollama_fleet.cli import snapshots
from ollama_fleet.cli.completing import instance_names
from ollama_fleet.cli.control import running
from ollama_fleet.cli.options import Command, Options, pass_options
from ollama_fleet.cli.printing import emit, note
from ollama_fleet.cli.waiting import until_settled
from ollama_fleet.errors import Exit


@click.command(
    "restart",
    cls=Command,
    examples={
        "fleet restart": "all of them, one after another",
        "fleet restart gpu-1": "one",
    },
)
@click.argument("instances", nargs=-1, metavar="[INSTANCE]…", shell_complete=instance_names)
@pass_options
def command(options: Options, instances: tuple[str, ...]) -> int:
    """Restart instances, all if none is named, one after another.

    Each lets its requests in flight end first, while the others serve. Returns when they are ready
    again; the exit code is 1 if one has failed.
    """
    control = running()
    control.restart(instances)
    snapshot = until_settled(control, instances, None, lambda line: note(options, line))
    restarted = [i for i in snapshots.instances(snapshot, instances) if not i["external"]]
    failed = [i for i in restarted if snapshots.is_failed(i)]
    document = {"restarted": [i["name"] for i in restarted], "failed": [i["name"] for i in failed]}
    emit(options, document, lambda: f"restarted: {', '.join(document['restarted'])}")
    for instance in failed:
        click.echo(f"fleet: {snapshots.describe_trouble(instance)}", err=True)
    return Exit.FAILED if failed else Exit.OK
