"""`fleet up`: in the foreground, in the background, or there with a screen before it."""

import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import click

from ollama_fleet.cli import snapshots
from ollama_fleet.cli.background import start
from ollama_fleet.cli.configuring import again, load, profile_of
from ollama_fleet.cli.control import Control
from ollama_fleet.cli.holder import holder_of
from ollama_fleet.cli.options import Command, Options, pass_options
from ollama_fleet.cli.ownlog import own_log
from ollama_fleet.cli.printing import note, print_document
from ollama_fleet.cli.screen import show_screen
from ollama_fleet.cli.waiting import Duration, until_gone, until_settled
from ollama_fleet.directories import Directories
from ollama_fleet.errors import Exit

if TYPE_CHECKING:  # pydantic
    from ollama_fleet.config import Loaded

_TOLD_AT_START: Final = ("front_open", "certificate_expires")  # events that nobody should miss

SIMULATE = click.option(
    "--simulate",
    is_flag=False,
    flag_value="",
    metavar="[PROFILE]",
    help="Run a simulated Ollama on simulated GPUs: 4-mixed, 2x24GB, 2x24-8, 8xH100, 4xMI300X,"
    " A100-7xMIG, laptop, or a YAML file.",
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What kind of fleet is to be started."""

    simulate: str | None
    listen: str | None
    insecure_no_auth: bool

    @property
    def overrides(self) -> dict[str, str]:
        """The flags that are keys of fleet.yaml."""
        overrides = {"listen": self.listen} if self.listen is not None else {}
        return overrides | ({"insecure_no_auth": "true"} if self.insecure_no_auth else {})

    def arguments(self, options: Options) -> Iterator[str]:
        """The same as a command line."""
        if options.config is not None:
            yield f"--config={options.config}"
        if options.verbose:
            yield "--verbose"
        if self.simulate is not None:
            yield f"--simulate={self.simulate}"
        if self.listen is not None:
            yield f"--listen={self.listen}"
        if self.insecure_no_auth:
            yield "--insecure-no-auth"


@click.command(
    "up",
    cls=Command,
    examples={
        "fleet up": "and watch it on a screen",
        "fleet up -d --wait-timeout 5m": "in a script: 0 when every instance is ready",
        "fleet up --no-tui": "under systemd or in a container",
        "fleet up --simulate": "without GPUs and without Ollama",
    },
)
@click.option("-d", "--detach", is_flag=True, help="Return when the fleet runs in the background.")
@click.option(
    "--wait", is_flag=True, help="As -d, but return when each instance is ready or has failed."
)
@click.option("--wait-timeout", type=Duration(), help="As --wait, but give up waiting after this.")
@click.option("--no-tui", is_flag=True, help="Run in the foreground and log; show no screen.")
@SIMULATE
@click.option("--listen", metavar="ADDRESS", help="Where clients find the fleet: `listen`.")
@click.option("--insecure-no-auth", is_flag=True, help="Let everyone in who reaches ADDRESS.")
@pass_options
def command(
    options: Options,
    detach: bool,
    wait: bool,
    wait_timeout: float | None,
    no_tui: bool,
    **wanted: Any,
) -> int:
    """Start the fleet.

    On a terminal it is started in the background, and a screen shows it until you press q. Without
    a terminal, or with --no-tui, it runs in the foreground until SIGINT or SIGTERM, which let
    requests in flight end; a second one does not.

    With --wait the exit code is 1 if an instance has failed, and those are named, with their last
    lines; with --wait-timeout it is 124 when the time is up, and the fleet goes on.
    """
    fleet = Wanted(**wanted)
    wait = wait or wait_timeout is not None
    if detach or wait:
        return _start(options, fleet, wait=wait, timeout_s=wait_timeout)
    on_terminal = sys.stdin.isatty() and sys.stdout.isatty()
    if on_terminal and not no_tui and not options.for_machines:
        return _start_and_show(options, fleet)
    return _run(options, fleet)


def _run(options: Options, wanted: Wanted) -> int:
    """In this process, until it is told to stop."""
    loaded = load(options, wanted.overrides)
    directories = Directories.find(os.environ)
    _refuse_early(loaded, directories)
    from ollama_fleet import fleet

    with own_log(options, loaded.config.logs, directories.fleet_log):
        return fleet.run(
            loaded,
            directories=directories,
            environ=os.environ,
            simulate=profile_of(wanted.simulate),
            reread=again(options, wanted.overrides, loaded),
        )


def _refuse_early(loaded: "Loaded", directories: Directories) -> None:
    """Raise PortTaken before a fleet is imported, which takes longer than all else.

    Not where the port may be a fleet's that runs or was killed: the start tells of it, or ends it.
    """
    from ollama_fleet.control.ports import require_free

    if not holder_of(directories.lock) and not any(directories.runs.glob("*")):
        require_free(loaded.config.listen)


def _start(options: Options, wanted: Wanted, *, wait: bool, timeout_s: float | None) -> int:
    """In the background; to the point where it answers, or is up as far as it comes."""
    begun_s = time.monotonic()
    directories = Directories.find(os.environ)
    background = start([*wanted.arguments(options)], directories)
    pid = background.process.pid
    try:
        control = background.until_it_answers(timeout_s)
        snapshot = control.status()
        note(options, f"fleet runs as pid {pid}, listening on {snapshot['listen']}")
        for event in control.events({"kind": _TOLD_AT_START}):
            note(options, f"warning: {event['text']}")
        if wait:
            spent_s = time.monotonic() - begun_s
            rest_s = None if timeout_s is None else max(0.0, timeout_s - spent_s)
            snapshot = until_settled(control, rest_s, lambda line: note(options, line))
    except KeyboardInterrupt:
        note(options, f"\nthe fleet (pid {pid}) goes on starting; `fleet down` stops it")
        raise
    if options.for_machines and not options.quiet:
        print_document(options, snapshot)
    failed = [i for i in snapshots.instances(snapshot) if snapshots.is_failed(i)] if wait else []
    for instance in failed:
        click.echo(f"fleet: {snapshots.describe_trouble(instance)}", err=True)
    return Exit.FAILED if failed else Exit.OK


def _start_and_show(options: Options, wanted: Wanted) -> int:
    """In the background, then its screen; whoever leaves that is asked whether to stop it."""
    code = _start(options, wanted, wait=True, timeout_s=None)
    if code != Exit.OK:
        note(options, "the fleet goes on; `fleet top` shows it, `fleet down` stops it")
        return code
    directories = Directories.find(os.environ)
    control, pid = Control(directories), holder_of(directories.lock)
    if show_screen(control, stop=lambda: control.down(now=False)):
        note(options, "the fleet stops when the requests in flight have ended")
        until_gone(pid, control, None)
    else:
        note(options, f"the fleet (pid {pid}) goes on; `fleet top` shows it, `fleet down` stops it")
    return Exit.OK
