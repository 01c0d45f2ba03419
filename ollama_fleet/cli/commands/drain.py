"""`fleet drain`: take instances out of rotation."""

from collections.abc import Sequence

import click

from ollama_fleet.cli import snapshots
from ollama_fleet.cli.completing import place_names
from ollama_fleet.cli.control import Control, running
from ollama_fleet.cli.options import Command, Options, pass_options
from ollama_fleet.cli.printing import emit, note
from ollama_fleet.cli.waiting import Duration, Late, until
from ollama_fleet.errors import FleetError


@click.command(
    "drain",
    cls=Command,
    examples={
        "fleet drain gpu-1 --wait": "and return when its requests have ended",
        "fleet drain gpu-1 --reason 'new power supply'": "and say why",
        "fleet drain gpu-0 gpu-1 --force": "also if nobody is left: requests wait",
    },
)
@click.argument(
    "instances", nargs=-1, required=True, metavar="INSTANCE|GROUP…", shell_complete=place_names
)
@click.option(
    "--reason", metavar="TEXT", default="", help="Why, for whoever looks; 200 characters at most."
)
@click.option("--wait", is_flag=True, help="Return when their requests in flight have ended.")
@click.option("--timeout", type=Duration(), help="As --wait, but give up waiting after this.")
@click.option("--force", is_flag=True, help="Also the last ones that a request could go to.")
@pass_options
def command(
    options: Options,
    instances: tuple[str, ...],
    *,
    reason: str,
    wait: bool,
    timeout: float | None,
    force: bool,
) -> None:
    """Take instances or groups out of rotation.

    They are given no new requests; those in flight go on, and what waited for them goes elsewhere.
    They run on, keep their models in memory, and stay drained through restarts until
    `fleet undrain`. Servers that someone else runs can be drained, too. The last ones that could
    take a request, or the requests of a model, are refused without --force.
    """
    control = running()
    drained = control.drain(instances, reason=reason, force=force)
    if wait or timeout is not None:
        _until_idle(options, control, drained, timeout)
    emit(options, {"drained": drained}, lambda: f"drained: {', '.join(drained)}")


def _until_idle(
    options: Options, control: Control, names: Sequence[str], timeout_s: float | None
) -> None:
    """Wait until nothing is in flight there; say how much is left."""
    busy: dict[str, int] = {}

    def late() -> FleetError:
        left = ", ".join(f"{count} at {name}" for name, count in busy.items())
        return Late(f"requests are still in flight: {left}", "they go on; so does the drain")

    for _ in until(timeout_s, late):
        left = {
            i["name"]: i["in_flight"]
            for i in snapshots.instances(control.status(), names)
            if i["in_flight"]
        }
        if not left:
            return
        if left != busy:
            total = ", ".join(f"{name}: {count} in flight" for name, count in left.items())
            note(options, total)
        busy = left
