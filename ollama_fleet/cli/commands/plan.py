"""`fleet plan`: what `up` would run, and why."""

import os
from typing import TYPE_CHECKING, Any

import click

from ollama_fleet.cli.commands.up import SIMULATE
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
    },
)
@SIMULATE
@pass_options
def command(options: Options, simulate: str | None) -> None:
    """Show the instances that `up` would run, on which GPUs, with which models, and why.

    Nothing is started. `-o wide` adds the environment that each would get; `-o json` and `-o yaml`
    have everything.
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
    emit(options, document(prepared), lambda: show(prepared, wide=options.output is Output.WIDE))


def show(prepared: "Prepared", *, wide: bool) -> str:
    """A table of the instances, then for each why it is as it is."""
    instances = prepared.placement.instances
    parts = [table(_COLUMNS, [_row(spec) for spec in instances])]
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
        "store": spec.store,
        "pinned": list(spec.pinned),
        "preload": list(spec.preload),
        "environment": dict(spec.environment),
        "reasons": list(spec.reasons),
    }
