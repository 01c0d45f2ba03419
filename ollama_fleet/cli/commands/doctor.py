"""`fleet doctor`: check that this machine is fit to run a fleet."""

import asyncio
import os
import time
from typing import TYPE_CHECKING

import click

from ollama_fleet.cli.configuring import load
from ollama_fleet.cli.control import Control
from ollama_fleet.cli.holder import holder_of
from ollama_fleet.cli.options import Command, Options, pass_options
from ollama_fleet.cli.printing import emit
from ollama_fleet.cli.table import Column, clean, table
from ollama_fleet.directories import Directories
from ollama_fleet.errors import Exit, FleetError

if TYPE_CHECKING:  # pydantic, psutil
    from ollama_fleet.doctor import Check

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command(
    "doctor",
    cls=Command,
    examples={
        "fleet doctor": "before the first start, and when something is odd",
        "fleet doctor -q || echo 'not fit'": "in a script",
    },
)
@pass_options
def command(options: Options) -> int:
    """Check that this machine is fit to run a fleet, and say how to mend what is not.

    Looked at are Python and libraries, the ollama binary, GPUs, their driver and whether Ollama can
    use them, whether the groups fit them, model stores and models that lack a blob, ports, other
    Ollama servers, the limit on open files, who else may read what the fleet keeps, keys and
    certificate. Nothing is changed. The exit code is 1 if a check fails; warnings do not count.
    """
    found = _examine(options)
    document = {
        "ok": all(check.status != "fail" for check in found),
        "checks": [
            {"name": c.name, "status": c.status.value, "detail": c.detail, "fix": c.fix}
            for c in found
        ],
    }
    emit(options, document, lambda: show(found))
    return Exit.OK if document["ok"] else Exit.FAILED


def show(found: "tuple[Check, ...]") -> str:
    """A line per check, then what to do."""
    columns = (Column("STATUS", colours=_COLOURS), Column("CHECK"), Column("DETAIL"))
    lines = table(columns, [(c.status.value, c.name, c.detail) for c in found])
    fixes = [f"{c.name}: {clean(c.fix)}" for c in found if c.fix]
    return "\n".join([lines, *(["", "To do:", *fixes] if fixes else [])])


def _gpus_of_fleet(directories: Directories) -> frozenset[str] | None:
    """What the fleet that runs was started with; None where none runs, or on simulated GPUs."""
    try:
        snapshot = Control(directories).status()
    except FleetError:
        return None
    return None if snapshot["simulated"] else frozenset(gpu["uuid"] for gpu in snapshot["gpus"])


def _examine(options: Options) -> "tuple[Check, ...]":
    from ollama_fleet.doctor import checks, gather
    from ollama_fleet.fleet.key_facts import key_facts
    from ollama_fleet.gpu.discover import GpuReader, sources

    loaded = load(options)
    directories = Directories.find(os.environ)
    reader = GpuReader(sources(), time.monotonic)
    try:
        facts = gather(
            loaded.config,
            gpus=reader,
            runs=directories.runs,
            environ=os.environ,
            fleet_pid=holder_of(directories.lock),
            fleet_gpus=_gpus_of_fleet(directories),
            keys=key_facts(loaded.config, directories, time.time()),
        )
        return checks(asyncio.run(facts))
    finally:
        reader.close()
