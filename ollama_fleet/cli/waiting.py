"""Waiting for a fleet: until it answers, until its instances are up, until its process is gone."""

import time
from collections.abc import Callable, Iterator

import click

from ollama_fleet.cli import snapshots
from ollama_fleet.cli.control import Control
from ollama_fleet.cli.table import clean
from ollama_fleet.errors import Exit, FleetError, NotRunning
from ollama_fleet.units import go_duration, parse_duration

_PAUSE_S = 0.05


class Late(FleetError):
    """What was waited for has not come in time."""

    exit_code = Exit.TIMEOUT


class Duration(click.ParamType[float]):
    """A duration on the command line, in seconds: `90`, `90s`, `1h30m`."""

    name = "duration"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Parse it, or fail with the reason."""
        try:
            seconds = parse_duration(value if isinstance(value, int | float) else str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if not seconds > 0:
            self.fail(f"{value} is not a time to wait", param, ctx)
        return seconds


def until(timeout_s: float | None, late: Callable[[], FleetError]) -> Iterator[None]:
    """Come round twenty times a second; raise what `late` makes when the time is up."""
    end_s = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        yield
        if end_s is not None and time.monotonic() >= end_s:
            raise late()
        time.sleep(_PAUSE_S)


def until_settled(
    control: Control,
    timeout_s: float | None,
    tell: Callable[[str], None],
) -> snapshots.Snapshot:
    """Wait until each of our own instances is ready or given up; tell what changes meanwhile.

    Raises Late after `timeout_s`, NotRunning if the fleet ends.
    """
    seen: dict[str, str] = {}
    snapshot: snapshots.Snapshot = {"instances": []}

    def late() -> FleetError:
        open_ = [i["name"] for i in _own(snapshot) if not _settled(i)]
        return Late(
            f"not ready in time: {', '.join(open_)}",
            "the fleet goes on; `fleet status` shows it, `fleet down` stops it",
        )

    for _ in until(timeout_s, late):
        snapshot = control.status()
        own = _own(snapshot)
        for instance in own:
            state = snapshots.state_of(instance)
            if seen.get(instance["name"], "stopped") != state:
                tell(f"{instance['name']}: {state}{_because(instance)}")
                seen[instance["name"]] = state
        if all(map(_settled, own)):
            break
    return snapshot


def until_gone(pid: int, control: Control, timeout_s: float | None) -> None:
    """Wait until a fleet's process has ended. Raises Late after `timeout_s`."""
    late = Late(
        f"the fleet (pid {pid}) has not ended after {go_duration(timeout_s or 0)}",
        "`fleet down --now` ends it without waiting for requests in flight",
    )
    is_there = _watch(pid) if pid else lambda: _answers(control)
    for _ in until(timeout_s, lambda: late):
        if not is_there():
            return


def _own(snapshot: snapshots.Snapshot) -> list[snapshots.Instance]:
    return [i for i in snapshots.instances(snapshot) if not i["external"]]


def _settled(instance: snapshots.Instance) -> bool:
    return snapshots.is_ready(instance) or snapshots.is_failed(instance)


def _because(instance: snapshots.Instance) -> str:
    cause = clean(instance["cause"])
    return f" ({cause})" if cause and not snapshots.is_ready(instance) else ""


def _watch(pid: int) -> Callable[[], bool]:
    """Whether that process is there; one that has ended and was not fetched is gone."""
    import psutil

    try:
        process = psutil.Process(pid)
    except psutil.NoSuchProcess:
        return lambda: False

    def is_there() -> bool:
        try:
            return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    return is_there


def _answers(control: Control) -> bool:
    try:
        control.status()
    except NotRunning:
        return False
    return True
