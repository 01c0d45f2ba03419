"""`fleet init`: write a fleet.yaml for this machine."""

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ollama_fleet.cli.holder import holder_of
from ollama_fleet.cli.options import Command, Options, pass_options
from ollama_fleet.cli.printing import emit, note
from ollama_fleet.cli.table import clean
from ollama_fleet.directories import Directories
from ollama_fleet.errors import FleetError
from ollama_fleet.system.files import give
from ollama_fleet.system.needs import can_keep_instances
from ollama_fleet.units import show_bytes

if TYPE_CHECKING:  # psutil, pynvml
    from ollama_fleet.control.service import Service
    from ollama_fleet.gpu import Inventory
    from ollama_fleet.layout import Access, Way

_ASK = "ask"
_DONE = {
    "take-over": "take over",
    "share": "share models with",
    "front": "put the fleet in front of",
    "leave": "leave",
}
_NEXT = """\
next:
  fleet doctor   see whether anything stands in the way
  fleet plan     see what would run, and why
  fleet up       start it"""


@click.command(
    "init",
    cls=Command,
    examples={
        "fleet init": "for the GPUs of this machine, in this folder",
        "fleet init --force ~/.config/ollama-fleet/fleet.yaml": "for every folder, in place of any",
        "fleet init --service share beside.yaml": "beside an Ollama that runs, on its models",
    },
)
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path), default="fleet.yaml")
@click.option("--force", is_flag=True, help="Replace the file if there is one.")
@click.option(
    "--service",
    type=click.Choice((_ASK, *_DONE)),
    default=_ASK,
    help="What to do about an Ollama that runs already: stop it and take its port and models, "
    "share its models beside it, put the fleet in front of it, or leave it. Asked for if there is "
    "one and a terminal to ask on; else it is left.",
)
@click.option("-y", "--yes", is_flag=True, help="Stop it without asking.")
@pass_options
def command(options: Options, path: Path, force: bool, service: str, yes: bool) -> None:
    """Write a commented fleet.yaml for the GPUs of this machine, to PATH or here.

    Prints what it found and what to do next. GPUs that are alike form a group. An Ollama server
    that runs already is dealt with as you choose; the file says how to undo that.
    """
    if path.exists() and not force:
        raise _is_there(path)
    from ollama_fleet.control.service import find_services
    from ollama_fleet.gpu.discover import merge_inventories, sources
    from ollama_fleet.layout import starter, to_do

    found = sources()
    inventory = merge_inventories(source.inventory() for source in found)
    for source in found:
        source.close()
    services = find_services(ours={holder_of(Directories.find(os.environ).lock)} - {0})
    way = _way(options, service, services)
    ended = _agreed(way.value, services[:1], yes=yes)
    access = _access(services[0].store if services else "")
    _write(path, starter(inventory, services, way, access), force=force)
    for each in ended:
        _end(options, each, path)
    left = tuple(to_do(services, way, access))
    document = {
        "path": str(path),
        "gpus": [
            {"uuid": g.uuid, "index": g.index, "name": g.name, "memory_bytes": g.memory_bytes}
            for g in inventory.gpus
        ],
        "services": [asdict(service) for service in services],
        "service_way": way.value,
        "notes": list(inventory.notes),
        "to_do": left,
    }
    emit(options, document, lambda: show(path, inventory, services, way, left))


def show(
    path: Path,
    inventory: "Inventory",
    services: "Sequence[Service]",
    way: "Way | None" = None,
    left: Sequence[str] = (),
) -> str:
    """What was found, what was written, and what to do next."""
    gpus = [
        f"GPU {gpu.index}: {clean(gpu.name)}, {show_bytes(gpu.memory_bytes)}"
        for gpu in inventory.gpus
    ]
    running = [
        f"Ollama {service.version} at {service.base_url} (pid {service.pid}):"
        f" {'stopped' if way == 'take-over' and not at else 'runs already'}; see {path}"
        for at, service in enumerate(services)
    ]
    lines = [*(gpus or ["no GPU, so models run on the CPU"]), *map(clean, inventory.notes)]
    wrote = [f"wrote {path}", *(f"to do: {clean(each)}" for each in left)]
    return "\n".join([*lines, *map(clean, running), *wrote, _NEXT])


# -- servers that run already ----------------------------------------------------------------------


def _way(options: Options, asked: str, services: "Sequence[Service]") -> "Way":
    """What to do about them: as was said, or as is answered now."""
    from ollama_fleet.layout import Way

    if not can_keep_instances():
        if asked not in (_ASK, Way.FRONT):
            raise FleetError(
                "no instances can be started on this system: the fleet can only be put in front of"
                " an Ollama that runs by itself",
                "--service front writes that; docs/platforms.md says why",
            )
        return Way.FRONT
    if asked != _ASK and not services:
        note(options, f"no Ollama was found that runs already: there is none to {_DONE[asked]}")
    if asked != _ASK:
        return Way(asked) if services else Way.LEAVE
    if not services or options.for_machines or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return Way.LEAVE
    return _answer(services)


def _answer(services: "Sequence[Service]") -> "Way":
    """What somebody at a terminal wants done about them."""
    from ollama_fleet.layout import MEANS

    for service in services:
        by = f", started by {service.managed_by}" if service.managed_by else ""
        told = f"Ollama {service.version} runs at {service.where} (pid {service.pid}{by})."
        click.echo(clean(told), err=True)
    if len(services) > 1:
        click.echo(f"To take over is the first, pid {services[0].pid}, alone.", err=True)
    for number, (way, means) in enumerate(MEANS.items(), 1):
        click.echo(f"  {number}  {way.value:10}{means}", err=True)
    numbers = click.IntRange(1, len(MEANS))
    answer = click.prompt("What shall be done?", type=numbers, default=len(MEANS), err=True)
    return tuple(MEANS)[answer - 1]


def _agreed(way: str, services: "Sequence[Service]", *, yes: bool) -> "Sequence[Service]":
    """Those that are to be stopped, once somebody has agreed to that."""
    if way != "take-over":
        return ()
    for service in services:
        if not service.stop:
            by = service.managed_by or f"pid {service.pid}"
            raise FleetError(f"{by} cannot be stopped from here", "choose another way: --service")
    commands = " and ".join(f"`{service.stop}`" for service in services)
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError(f"{commands} would be run: say --yes where nobody can answer")
        click.confirm(f"Run {clean(commands)}?", abort=True, err=True)
    return services


def _end(options: Options, service: "Service", path: Path) -> None:
    from ollama_fleet.control import handover

    note(options, f"running {clean(service.stop)}")
    try:
        handover.end(service)
    except KeyboardInterrupt:
        told = f"interrupted: {path} is written; whether {service.stop} was done is not known"
        click.echo(f"fleet: {clean(told)}", err=True)
        raise


def _access(store: str) -> "Access":
    """What this user may do with a store, or where that is to be made."""
    from ollama_fleet.layout import Access

    path = Path(store)
    there = next(each for each in (path, *path.parents) if os.path.exists(each))  # noqa: PTH110 - Path's raises where it may not look
    inside = (each for each in (path / "blobs", path / "manifests") if os.path.exists(each))  # noqa: PTH110
    places = (there, *inside)
    if not all(os.access(each, os.R_OK | os.X_OK) for each in places):
        return Access.NONE
    return Access.WRITE if all(os.access(each, os.W_OK) for each in places) else Access.READ


# -- the file --------------------------------------------------------------------------------------


def _write(path: Path, text: str, *, force: bool) -> None:
    """Whole or not at all: what is replaced stays until all of the new is there."""
    target = path.resolve()  # a link stays one
    target.parent.mkdir(parents=True, exist_ok=True)
    old = force and target.is_file()  # and no device
    made = target.with_name(f".{target.name}.{os.getpid()}") if old else target
    try:
        file = made.open("w" if force else "x", encoding="utf-8")
    except FileExistsError:
        raise _is_there(path) from None
    try:
        with file:
            file.write(text)
        if old:
            shutil.copymode(target, made)
            give(made, target)
            made.replace(target)
    except BaseException:
        if made.is_file():
            made.unlink()
        raise


def _is_there(path: Path) -> FleetError:
    return FleetError(f"{path} is there already", "--force replaces it")
