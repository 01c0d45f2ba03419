"""`fleet init`: write a fleet.yaml for this machine."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ollama_fleet.cli.options import Command, Options, pass_options
from ollama_fleet.cli.printing import emit
from ollama_fleet.cli.table import clean
from ollama_fleet.errors import FleetError
from ollama_fleet.units import show_bytes

if TYPE_CHECKING:  # psutil, pynvml
    from ollama_fleet.control.service import Service
    from ollama_fleet.gpu import Inventory

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
    },
)
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path), default="fleet.yaml")
@click.option("--force", is_flag=True, help="Replace the file if there is one.")
@pass_options
def command(options: Options, path: Path, force: bool) -> None:
    """Write a commented fleet.yaml for the GPUs of this machine, to PATH or here.

    Prints what it found and what to do next. GPUs that are alike form a group. Ollama servers that
    run already are named in the file, with the ways to proceed.
    """
    if path.exists() and not force:
        raise _is_there(path)
    from ollama_fleet.control.service import find_services
    from ollama_fleet.gpu.discover import merge_inventories, sources
    from ollama_fleet.layout import starter

    found = sources()
    inventory = merge_inventories(source.inventory() for source in found)
    for source in found:
        source.close()
    services = find_services()
    _write(path, starter(inventory, services), force=force)
    document = {
        "path": str(path),
        "gpus": [
            {"uuid": g.uuid, "index": g.index, "name": g.name, "memory_bytes": g.memory_bytes}
            for g in inventory.gpus
        ],
        "services": [asdict(service) for service in services],
        "notes": list(inventory.notes),
    }
    emit(options, document, lambda: show(path, inventory, services))


def show(path: Path, inventory: "Inventory", services: "tuple[Service, ...]") -> str:
    """What was found, what was written, and what to do next."""
    gpus = [
        f"GPU {gpu.index}: {clean(gpu.name)}, {show_bytes(gpu.memory_bytes)}"
        for gpu in inventory.gpus
    ]
    running = [
        f"Ollama {service.version} runs already at {service.base_url} (pid {service.pid}); "
        f"{path} says what to do about it"
        for service in services
    ]
    lines = [*(gpus or ["no GPU, so models run on the CPU"]), *map(clean, inventory.notes)]
    return "\n".join([*lines, *running, f"wrote {path}", _NEXT])


def _write(path: Path, text: str, *, force: bool) -> None:
    try:
        with path.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise _is_there(path) from None


def _is_there(path: Path) -> FleetError:
    return FleetError(f"{path} is there already", "--force replaces it")
