"""Judgements on the machine: GPUs, ports, the model store, and what runs there already. Pure."""

from collections.abc import Iterator
from typing import Final

from ollama_fleet.config.limits import connections_within
from ollama_fleet.doctor.check import Check, Status
from ollama_fleet.doctor.facts import Facts, PortFacts, StoreFacts
from ollama_fleet.gpu import Vendor
from ollama_fleet.units import show_bytes

FREE_BYTES: Final = 10 * 2**30
_TOOLS: Final = {Vendor.NVIDIA: "nvidia-smi", Vendor.AMD: "amd-smi"}


def gpus(facts: Facts) -> Iterator[Check]:
    """Whether the driver gives the cards that are there. Having none is well, too."""
    found = facts.inventory.gpus
    notes = "; ".join(facts.inventory.notes)
    amiss = "; ".join(n for n in facts.inventory.notes if n not in facts.inventory.remarks)
    nvidia = len({gpu.parent_uuid or gpu.uuid for gpu in found if gpu.vendor is Vendor.NVIDIA})
    shown = ", ".join(f"{gpu.index} = {gpu.name}" for gpu in found) or "none"
    if nvidia < facts.nvidia_cards and not facts.inventory.simulated:
        yield Check(
            "gpus",
            Status.WARN,
            f"the driver gives {nvidia} of {facts.nvidia_cards} NVIDIA cards on the PCI bus:"
            f" {notes or 'it does not say why'}",
            "mend the driver (`nvidia-smi` and `dmesg` say more), or go on without those cards",
        )
    elif amiss:
        yield Check(
            "gpus",
            Status.WARN,
            f"{shown}; but {amiss}",
            f"see to what the driver says; {_tools(facts)} and `dmesg` say more",
        )
    elif facts.inventory.own_gpu:
        own = facts.inventory.own_gpu
        yield Check("gpus", Status.OK, f"{own}, which Ollama uses by itself; it has no figures")
    elif found:
        yield Check("gpus", Status.OK, f"{shown} ({notes})" if notes else shown)
    else:
        yield Check(
            "gpus", Status.OK, f"no GPU, so models run on the CPU ({notes or 'none found'})"
        )


def since_started(facts: Facts) -> Iterator[Check]:
    """Whether the fleet that runs was started with the GPUs that are there now.

    One that the driver has trouble with may be among those that are missed: that is told of it.
    """
    if facts.fleet_gpus is None:
        return
    known, found = facts.fleet_gpus, facts.inventory.gpus
    new = [f"GPU {gpu.index} ({gpu.uuid})" for gpu in found if gpu.uuid not in known]
    well = set(facts.inventory.notes) <= set(facts.inventory.remarks)
    gone = sorted(known - {gpu.uuid for gpu in found}) if well else []
    told = [f"does not know {', '.join(new)}"] if new else []
    if gone:
        verb = "are" if len(gone) > 1 else "is"
        told.append(f"was started with {', '.join(gone)}, which {verb} no more")
    if told:
        yield Check(
            "gpus",
            Status.WARN,
            f"the fleet that runs {' and '.join(told)}",
            "`fleet down && fleet up` plans with what is there now",
        )


def _tools(facts: Facts) -> str:
    """What the drivers of these cards come with, to ask them by."""
    vendors = {gpu.vendor for gpu in facts.inventory.gpus}
    tools = [tool for vendor, tool in _TOOLS.items() if vendor in vendors] or _TOOLS.values()
    return ", ".join(f"`{tool}`" for tool in tools)


def placement(facts: Facts) -> Iterator[Check]:
    """Whether the groups of fleet.yaml and the GPUs go together."""
    if facts.misplaced:
        fix = facts.misplaced_hint or "change `groups` in fleet.yaml"
        yield Check("placement", Status.FAIL, facts.misplaced, fix)
    else:
        notes = "; ".join(facts.placement_notes)
        yield Check("placement", Status.OK, notes or "the groups fit the GPUs")


def stores(facts: Facts) -> Iterator[Check]:
    """Whether models can be read from each store and downloaded to it, and whether it is whole."""
    if facts.runs_own:
        for place in facts.stores:
            yield from _store(place)


def _store(place: StoreFacts) -> Iterator[Check]:
    own = "set `ollama.models`, or `store` of its group, to a folder of your own"
    if place.closed or (place.read_only and not place.exists):
        yield Check(
            "store",
            Status.FAIL,
            f"this user may not use {', '.join(place.closed or place.read_only)}",
            f"run `fleet` as its owner, join the group that may use it, or {own}",
        )
    elif place.read_only:
        yield Check(
            "store",
            Status.WARN,
            f"this user may not write to {', '.join(place.read_only)}:"
            " its models can be served, but none downloaded, made or removed",
            f"run `fleet` as its owner, join a group that may write to it, or {own}",
        )
    elif place.free_bytes is not None and place.free_bytes < FREE_BYTES:
        yield Check(
            "store",
            Status.WARN,
            f"{place.path} has {show_bytes(place.free_bytes)} left, and one model may take more",
            f"{_prune(place)}remove models (`fleet rm`), or move the store to a larger disk",
        )
    elif place.damage:
        yield Check(
            "store",
            Status.WARN,
            f"{place.path} has models that cannot be run: {'; '.join(place.damage)}",
            "`fleet sync` with their names brings what they lack, or `fleet pull` fetches it",
        )
    elif place.prunable_bytes:
        yield Check(
            "store",
            Status.WARN,
            f"{place.path} has {show_bytes(place.prunable_bytes)} that no model needs",
            "`fleet prune` removes it, while the fleet runs",
        )
    else:
        left = "" if place.free_bytes is None else f", {show_bytes(place.free_bytes)} free"
        new = "" if place.exists else ", to be made at the first start"
        yield Check("store", Status.OK, f"{place.path}{left}{new}")


def _prune(place: StoreFacts) -> str:
    if not place.prunable_bytes:
        return ""
    return f"`fleet prune` removes {show_bytes(place.prunable_bytes)} that no model needs; "


def ports(facts: Facts) -> Iterator[Check]:
    """Whether the ports fleet.yaml names can be had; those the fleet itself holds are."""
    ours = {record.pid: f"its instance {record.name}" for record in facts.running}
    if facts.fleet_pid:
        ours[facts.fleet_pid] = "the fleet itself"
    for wanted in facts.ports:
        name = f"port {wanted.port}"
        holder = wanted.holder.pid if wanted.holder else 0
        if not wanted.trouble:
            yield Check(name, Status.OK, f"free, for `{wanted.purpose}`")
        elif holder in ours:
            yield Check(name, Status.OK, f"held by {ours[holder]} (pid {holder})")
        else:
            by = f" by {wanted.holder}" if wanted.holder else ""
            detail = f"not free for `{wanted.purpose}` on {wanted.host}: {wanted.trouble}{by}"
            yield Check(name, Status.FAIL, detail, _free_port(facts, wanted))


def _free_port(facts: Facts, wanted: PortFacts) -> str:
    other = f"set `{wanted.purpose}` to another"
    if wanted.holder is None:
        return other
    stops = (s.stop for s in facts.services if s.pid == wanted.holder.pid)
    kill = f"kill {wanted.holder.pid}" if wanted.holder.pid else ""
    stop = next(stops, kill) or f"`sudo ss -ltnp sport = :{wanted.port}` tells who it is"
    return f"end it ({stop}), or {other}"


def services(facts: Facts) -> Iterator[Check]:
    """Whether other Ollama servers use the same GPUs and memory."""
    for service in facts.services:
        what = f"Ollama {service.version}" if service.version else "an Ollama of unknown version"
        by = f", started by {service.managed_by}" if service.managed_by else ""
        yield Check(
            "other ollama",
            Status.WARN,
            f"{what} runs at {service.where} (pid {service.pid}, user {service.user}{by}) and"
            " competes for the same GPUs and memory",
            f"stop it ({service.stop}), or list it under `instances` in fleet.yaml",
        )


def left_over(facts: Facts) -> Iterator[Check]:
    """Whether a fleet that was killed has left instances running."""
    if facts.running and not facts.fleet_pid:
        left = ", ".join(f"{record.name} (pid {record.pid})" for record in facts.running)
        yield Check(
            "left over",
            Status.WARN,
            f"a fleet that is gone has left running: {left}",
            "`fleet up` ends them before it starts its own",
        )


def open_files(facts: Facts) -> Iterator[Check]:
    """Whether the system lets us hold as many connections as fleet.yaml lets in."""
    files = facts.program.files
    clients = connections_within(files, facts.instances, secured=facts.tls)
    if clients < facts.clients_wanted:
        yield Check(
            "open files",
            Status.WARN,
            f"{files} files may be open, which is enough for {clients} clients at once, and"
            f" {facts.clients_wanted} may come: each request takes a connection on both sides",
            "raise the hard limit (nofile in limits.conf, LimitNOFILE=65536 in a systemd unit), or"
            " lower `limits.connections` or `queue.limit`",
        )
    else:
        yield Check(
            "open files",
            Status.OK,
            f"{files} files may be open, enough for {clients} clients at once",
        )
