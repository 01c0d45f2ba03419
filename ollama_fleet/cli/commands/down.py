"""`fleet down`: stop the fleet."""

import os

import click

from ollama_fleet.cli.control import Control
from ollama_fleet.cli.holder import holder_of
from ollama_fleet.cli.options import Command, Options, pass_options
from ollama_fleet.cli.printing import emit, note
from ollama_fleet.cli.waiting import Duration, until_gone
from ollama_fleet.directories import Directories


@click.command(
    "down",
    cls=Command,
    examples={
        "fleet down": "when the requests in flight have ended",
        "fleet down --now": "without waiting for them",
    },
)
@click.option("--now", is_flag=True, help="Do not let the requests in flight end first.")
@click.option("--timeout", type=Duration(), help="Give up waiting after this, as 30s or 2m.")
@pass_options
def command(options: Options, now: bool, timeout: float | None) -> None:
    """Stop the fleet.

    It takes no new requests, lets those in flight end within `supervision.drain_timeout`, stops the
    instances, and is gone when this command returns. With --timeout the exit code is 124 when the
    time is up, and the fleet goes on stopping.
    """
    directories = Directories.find(os.environ)
    control, pid = Control(directories), holder_of(directories.lock)
    in_flight = sum(instance["in_flight"] for instance in control.status()["instances"])
    control.down(now=now)
    if in_flight and not now:
        requests = "1 request" if in_flight == 1 else f"{in_flight} requests"
        note(options, f"waiting for {requests} in flight; --now does not")
    until_gone(pid, control, timeout)
    emit(options, {"stopped": True, "pid": pid}, lambda: f"the fleet (pid {pid}) has stopped")
