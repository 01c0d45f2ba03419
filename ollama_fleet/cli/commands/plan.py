"""`fleet plan`: what `up` would run, and why."""

import os
import shutil
import sys
from typing import TYPE_CHECKING, Any

import click

from ollama_fleet.cli import fitting
from ollama_fleet.cli.commands.up import SIMULATE
from ollama_fleet.cli.completing import model_names
from ollama_fleet.cli.configuring import load, profile_of
from ollama_fleet.cli.options import Command, Options, Output, pass_options
from ollama_fleet.cli.printing import emit
from ollama_fleet.cli.table import Column, clean, table
from ollama_fleet.directories import Directories
from ollama_fleet.names import ModelName, canonical

if TYPE_CHECKING:  # pydantic, aiohttp
    from ollama_fleet.fleet import Prepared
    from ollama_fleet.gpu import Gpu
    from ollama_fleet.placement import InstanceSpec

_WIDTH = 80  # of a drawing that goes to no terminal
_COLUMNS = (
    Column("INSTANCE"),
    Column("GROUP"),
    Column("GPUS"),
    Column("PORT", number=True),
    Column("SLOTS", number=True),
    Column("MODELS"),
)


@click.command(
    "plan",
    cls=Command,
    examples={
        "fleet plan": "for the GPUs of this machine",
        "fleet plan -o wide": "with the environment of each instance",
        "fleet plan --simulate 8xH100": "what it would be on another box",
        "fleet plan --simulate 8xH100 --model llama3.3:70b": "where a model fits",
    },
)
@SIMULATE
@click.option(
    "--model",
    "models",
    metavar="MODEL",
    multiple=True,
    help="See which instances hold this model, wanted by fleet.yaml or not. Repeatable.",
    shell_complete=model_names,
)
@click.option(
    "--offline", is_flag=True, help="With --model: ask no registry about what is not pulled yet."
)
@pass_options
def command(options: Options, simulate: str | None, models: tuple[str, ...], offline: bool) -> None:
    """Show the instances that `up` would run, on which GPUs, with which models, and why.

    Nothing is started. The box is drawn where it is known how its GPUs are connected. `-o wide`
    adds the environment that each instance would get; `-o json` and `-o yaml` have everything.

    With `--model` it shows instead, for each instance, how much memory a model takes there,
    whether that is free beside what is loaded at its start, and for 1, 2, 4 and 8 slots the
    longest context that fits. Of a model that is not pulled yet its registry is asked.
    """
    loaded = load(options)
    from ollama_fleet import fleet

    prepared = fleet.prepare(
        loaded,
        directories=Directories.find(os.environ),
        environ=os.environ,
        simulate=profile_of(simulate),
    )
    prepared.reader.close()
    if models:
        found = fleet.fits_of(prepared, models, environ=os.environ, offline=offline)
        shown = {"models": [fitting.document(each) for each in found]}
        emit(options, shown, lambda: "\n\n".join(map(fitting.show, found)))
        return
    emit(
        options,
        document(prepared),
        lambda: show(
            prepared,
            wide=options.output is Output.WIDE,
            width=shutil.get_terminal_size().columns if sys.stdout.isatty() else _WIDTH,
            plain=not (sys.stdout.encoding or "").lower().startswith("utf"),
        ),
    )


def show(prepared: "Prepared", *, wide: bool, width: int = _WIDTH, plain: bool = False) -> str:
    """A table of the instances, the box as they share it, then for each why it is as it is.

    The drawing has `width` places and, `plain`, only ASCII.
    """
    from ollama_fleet.cli.boxes import draw

    instances = prepared.placement.instances
    drawing = draw(prepared.inventory.gpus, instances, width=width, plain=plain)
    parts = [table(_COLUMNS, [_row(spec) for spec in instances]), *([drawing] if drawing else [])]
    parts += ["\n".join(_about(spec, wide=wide)) for spec in instances]
    parts += ["\n".join(map(clean, _notes(prepared)))] if _notes(prepared) else []
    return "\n\n".join(parts)


def document(prepared: "Prepared") -> dict[str, Any]:
    """All of it, for programs."""
    placement, config = prepared.placement, prepared.config
    return {
        "listen": str(config.listen),
        "strategy": config.routing.strategy,
        "simulated": prepared.simulated or None,
        "command": list(prepared.argv),
        "gpus": [_gpu(gpu) for gpu in prepared.inventory.gpus],
        "instances": [_instance(spec) for spec in placement.instances],
        "routes": {model: sorted(names) for model, names in placement.routes.items()},
        "notes": _notes(prepared),
    }


def _notes(prepared: "Prepared") -> list[str]:
    return list(dict.fromkeys((*prepared.inventory.notes, *prepared.placement.notes)))


def _row(spec: "InstanceSpec") -> tuple[object, ...]:
    gpus = ",".join(str(gpu.index) for gpu in spec.gpus)
    models = {canonical(model): model for model in (*map(_shown, spec.pinned), *spec.preload)}
    elsewhere = "external" if spec.external else "cpu"
    shown = ",".join(models.values())
    return spec.name, spec.group, gpus or elsewhere, spec.port, spec.slots, shown


def _shown(key: str) -> str:
    return str(ModelName.parse(key))


def _about(spec: "InstanceSpec", *, wide: bool) -> list[str]:
    environment = sorted(spec.environment.items()) if wide else []
    return [
        f"{spec.name}:",
        *(f"  {clean(reason)}" for reason in spec.reasons),
        *(f"  {name}={clean(value)}" for name, value in environment),
    ]


def _gpu(gpu: "Gpu") -> dict[str, Any]:
    return {
        "uuid": gpu.uuid,
        "index": gpu.index,
        "name": gpu.name,
        "vendor": gpu.vendor.value,
        "kind": gpu.kind.value,
        "memory_bytes": gpu.memory_bytes,
        "reserved_bytes": gpu.reserved_bytes,
        "driver": gpu.driver,
        "architecture": gpu.architecture or None,
        "visible_as": gpu.visible_as or gpu.uuid,
        "parent_uuid": gpu.parent_uuid or None,
        "pci_bus_id": gpu.pci_bus_id,
        "display_active": gpu.display_active,
        "numa_node": gpu.numa_node,
        "cpus": list(gpu.cpus),
        "links": [
            {
                "uuid": link.uuid,
                "kind": link.kind,
                "bandwidth_bytes_per_s": link.bandwidth_bytes_per_s or None,
            }
            for link in gpu.links
        ],
    }


def _instance(spec: "InstanceSpec") -> dict[str, Any]:
    return {
        "name": spec.name,
        "group": spec.group,
        "url": spec.base_url,
        "port": spec.port,
        "external": spec.external,
        "gpus": [gpu.uuid for gpu in spec.gpus],
        "cpus": list(spec.cpus),
        "memory_nodes": list(spec.memory_nodes),
        "slots": spec.slots,
        "most_slots": spec.most_slots or spec.slots,
        "weight": spec.weight or None,
        "store": spec.store,
        "pinned": list(spec.pinned),
        "preload": list(spec.preload),
        "environment": dict(spec.environment),
        "reasons": list(spec.reasons),
    }
