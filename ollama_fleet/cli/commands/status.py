"""`fleet status`, also `fleet ps`: the instances and what they do."""

from collections.abc import Iterator

import click

from ollama_fleet.cli import snapshots
from ollama_fleet.cli.control import running
from ollama_fleet.cli.options import Command, Options, Output, pass_options
from ollama_fleet.cli.printing import emit
from ollama_fleet.cli.table import Column, clean, table
from ollama_fleet.errors import Exit
from ollama_fleet.units import show_duration

_COLOURS = {
    "ready": "green", "starting": "yellow", "draining": "yellow", "stopping": "yellow",
    "backoff": "red", "failed": "red", "unhealthy": "red", "drained": "yellow",
    "ejected": "red",
}  # fmt: skip
_COLUMNS = (
    Column("INSTANCE"),
    Column("GROUP"),
    Column("GPUS"),
    Column("PHASE", colours=_COLOURS),
    Column("MODELS"),
    Column("BUSY", number=True),
    Column("WAITING", number=True),
    Column("REQUESTS", number=True),
    Column("FAILURES", number=True),
    Column("TOKENS", number=True),
    Column("STARTS", number=True),
    Column("PID", number=True),
)
_WIDE = (
    Column("FOR", number=True),
    Column("OLLAMA"),
    Column("URL"),
    Column("STORED", number=True),
    Column("CPUS"),
)


@click.command(
    "status",
    cls=Command,
    examples={
        "fleet status": "what each instance does",
        "fleet status -q || echo trouble": "as a health check",
        "fleet status -o json | jq -r '.instances[].phase'": "for a program",
    },
)
@pass_options
def command(options: Options) -> int:
    """Show the instances and what they do.

    The exit code is 0 if all is well, 1 if an instance has failed, has crashed and waits for its
    next start, does not answer or is left out for failing requests, and 69 if no fleet is running.
    With -q it is all there is, which suits a health check.
    """
    snapshot = running().status()
    emit(options, snapshot, lambda: show(snapshot, wide=options.output is Output.WIDE))
    return Exit.FAILED if any(map(snapshots.is_troubled, snapshot["instances"])) else Exit.OK


def show(snapshot: snapshots.Snapshot, *, wide: bool) -> str:
    """A line about the fleet, a table of its instances, and why those that are not up are not."""
    rows = [_row(snapshot, i, wide=wide) for i in snapshot["instances"]]
    columns = _COLUMNS + _WIDE if wide else _COLUMNS
    notes = map(clean, dict.fromkeys(snapshot["notes"])) if wide else ()
    return "\n".join([_headline(snapshot), table(columns, rows), *_remarks(snapshot), *notes])


def _remarks(snapshot: snapshots.Snapshot) -> Iterator[str]:
    """What a column has no room for."""
    instances = snapshot["instances"]
    for instance in instances:
        yield from _reasons(instance)
    outdated = " ".join(i["name"] for i in instances if i.get("outdated"))
    if outdated:
        yield f"the ollama binary was replaced: `fleet restart {outdated}` takes the new one"
    yield from map(_pull, snapshot["pulls"])
    for instance in instances:
        for model in instance["reloading"]:
            yield f"reloading {clean(model)} on {instance['name']}: its weights were replaced"
    if snapshot["gpu_error"]:
        yield f"GPU readings: {clean(snapshot['gpu_error'])}"
    yield from map(clean, snapshot.get("gpu_changes", ()))


def _reasons(instance: snapshots.Instance) -> Iterator[str]:
    """Why it is given no requests."""
    name = instance["name"]
    if instance["cause"] and not snapshots.is_ready(instance):
        yield f"{name}: {clean(instance['cause'])}"
        yield from _last_words(instance)
    if instance.get("drain") is not None:
        yield f"{name} is given no requests: {clean(instance['drain'])}"
    if instance.get("ejected_s"):
        left = show_duration(instance["ejected_s"])
        yield f"{name} has failed requests and gets none for {left}: {clean(instance['ejected'])}"


def _last_words(instance: snapshots.Instance) -> list[str]:
    """What one that was given up has printed last; others print more."""
    tail = instance["log_tail"] if snapshots.is_failed(instance) else ()
    return [f"    {clean(line)}" for line in tail]


def _headline(snapshot: snapshots.Snapshot) -> str:
    parts = [
        f"listening on {snapshot['listen']}",
        snapshot["strategy"],
        *(["simulated"] if snapshot["simulated"] else []),
        *(["stopping"] if snapshot["stopping"] else []),
        f"up {show_duration(snapshot['now_s'] - snapshot['started_s'])}",
        *([f"{snapshot['waiting']} waiting"] if snapshot["waiting"] else []),
    ]
    return ", ".join(parts)


def _row(
    snapshot: snapshots.Snapshot, instance: snapshots.Instance, *, wide: bool
) -> tuple[object, ...]:
    indices = {gpu["uuid"]: str(gpu["index"]) for gpu in snapshot["gpus"]}
    kind = "external" if instance["external"] else "cpu"
    row = (
        instance["name"],
        instance["group"],
        ",".join(indices.get(uuid, uuid) for uuid in instance["gpus"]) or kind,
        snapshots.state_of(instance),
        ",".join(_model(instance, model) for model in instance["resident"]),
        f"{instance['in_flight']}/{instance['places']}",
        instance["waiting"],
        instance["requests"],
        instance["failures"],
        instance["tokens"],
        instance["starts"],
        instance["pid"] or "",
    )
    age = show_duration(instance["phase_s"])
    cpus = instance.get("cpus") or ("" if instance["external"] else "all")
    more = (age, instance["version"], instance["url"], len(instance["stored"]), cpus)
    return row + more if wide else row


def _model(instance: snapshots.Instance, model: snapshots.Snapshot) -> str:
    """A model in memory; where that should be a GPU's and is not all of it, how much is."""
    name, size, vram = str(model.get("name", "?")), model.get("size"), model.get("size_vram")
    if not (instance["gpus"] and size and isinstance(vram, int) and vram < size):
        return name
    return f"{name} (gpu {vram / size:.0%})" if vram else f"{name} (cpu)"


def _pull(pull: snapshots.Snapshot) -> str:
    share = pull["completed_bytes"] / pull["total_bytes"] if pull["total_bytes"] else 0.0
    model, instance = clean(pull["model"]), pull["instance"]
    return f"pulling {model} on {instance}: {share:.0%}, {clean(pull['status'])}"
