"""What has become of requests: asked of the fleet that runs, else read from what one has left."""

import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote, urlencode

import click

from ollama_fleet.cli.completing import instance_names, model_names
from ollama_fleet.cli.control import Control, Document, running
from ollama_fleet.cli.options import Options
from ollama_fleet.cli.printing import note
from ollama_fleet.directories import Directories
from ollama_fleet.errors import FleetError, NotRunning
from ollama_fleet.units import parse_duration

if TYPE_CHECKING:
    from ollama_fleet.history import Selection

Found = TypeVar("Found")

_TIMEOUT_S: Final = 60.0  # a history may be large, and its disk busy


class Moment(click.ParamType[float]):
    """A moment on the command line, as Unix time: `90m` ago, or `2026-11-21`, `2026-11-21T08:30`.

    A date without an offset is local time.
    """

    name = "moment"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Parse it, or fail with what can be written."""
        text = str(value)
        try:
            ago_s = abs(parse_duration(text))
        except ValueError:
            ago_s = math.inf
        if math.isfinite(ago_s):
            return time.time() - ago_s
        try:
            return datetime.fromisoformat(text).astimezone().timestamp()
        except (ValueError, OverflowError):
            self.fail(f"{text!r} is neither a time ago (90m) nor a date (2026-11-21)", param, ctx)


def choosing(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that choose requests, which `query` takes."""
    for option in (
        click.option("--until", type=Moment(), metavar="WHEN", help="Only before that; likewise."),
        click.option("--since", type=Moment(), metavar="WHEN",
                     help="Only after that: 90m ago, or 2026-11-21T08:30."),
        click.option("--tenant", metavar="TENANT", help="Only of this tenant."),
        click.option("--instance", metavar="INSTANCE", shell_complete=instance_names,
                     help="Only on this instance."),
        click.option("--model", metavar="MODEL", shell_complete=model_names,
                     help="Only for this model."),
    ):  # fmt: skip
        function = option(function)
    return function


def query(**asked: object) -> dict[str, object]:
    """What was said of those options, as the control API takes it."""
    return {name: 1 if value is True else value for name, value in asked.items() if value}


def requests(options: Options, wanted: Mapping[str, object]) -> Sequence[Document]:
    """The requests that are wanted, the last to arrive first."""

    def read(path: Path) -> Sequence[Document]:
        import msgspec

        from ollama_fleet import history

        limit = wanted["limit"]
        assert isinstance(limit, int)
        found = history.select(path, _selection(wanted), limit)
        return [msgspec.to_builtins(record) for record in found]

    path = f"/v1/requests?{urlencode(wanted)}"
    return _asked(options, lambda control: _told(control, path)["requests"], read)


def explanation(options: Options, request_id: str) -> Document:
    """Why one took as long as it did. Raises FleetError if there is no such request."""

    def read(path: Path) -> Document:
        import msgspec

        from ollama_fleet import history

        found = history.find(path, request_id)
        if found is None:
            raise FleetError(
                "there is no such request", "`fleet history` lists those that are kept"
            )
        explained: Document = msgspec.to_builtins(
            history.explain(found, history.neighbours(path, found))
        )
        return explained

    path = f"/v1/explain/{quote(request_id, safe='')}"
    return _asked(options, lambda control: _told(control, path), read)


def usage(options: Options, wanted: Mapping[str, object], by: Sequence[str]) -> Sequence[Document]:
    """The totals of the requests that are wanted."""

    def read(path: Path) -> Sequence[Document]:
        import msgspec

        from ollama_fleet import history

        found = history.usage(path, _selection(wanted), tuple(map(history.By, by)))
        return [msgspec.to_builtins(one) for one in found]

    path = f"/v1/usage?{urlencode({**wanted, 'by': by}, doseq=True)}"
    return _asked(options, lambda control: _told(control, path)["usage"], read)


def _asked(
    options: Options, ask: Callable[[Control], Found], read: Callable[[Path], Found]
) -> Found:
    try:
        return ask(running())
    except NotRunning:
        path = Directories.find(os.environ).history
        if not path.exists():
            raise
        note(options, "no fleet is running: this is what the last one has kept")
        return read(path)


def _told(control: Control, path: str) -> Any:
    return json.loads(control.read(path, _TIMEOUT_S))


def _selection(wanted: Mapping[str, Any]) -> "Selection":
    from ollama_fleet.history import Selection

    return Selection(
        model=wanted.get("model", ""),
        instance=wanted.get("instance", ""),
        tenant=wanted.get("tenant", ""),
        since_s=wanted.get("since", 0.0),
        until_s=wanted.get("until", 0.0),
        slow_s=wanted.get("slow", 0.0),
        errors=bool(wanted.get("errors")),
    )
