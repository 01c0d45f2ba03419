"""`place`: the configuration and the GPUs at hand -> the instances to run. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ollama_fleet.errors import PlacementError
from ollama_fleet.gpu import Gpu, Inventory
from ollama_fleet.placement import kept
from ollama_fleet.placement.environment import environment, uses_vulkan
from ollama_fleet.placement.misfits import Misfit
from ollama_fleet.placement.models import Duties, duties
from ollama_fleet.placement.needs import Models
from ollama_fleet.placement.remedies import refusal
from ollama_fleet.placement.seats import Seat, Seating, assign
from ollama_fleet.placement.spec import InstanceSpec, Placement

if TYPE_CHECKING:
    from ollama_fleet.config import Config, ExternalConfig, GroupConfig, Settings

MOST_SLOTS = 64  # per model, that the fleet may find out of a server that somebody else runs
_LOOPBACK = "127.0.0.1"
_NOT_QUANTISED = frozenset({"f32", "f16", "bf16"})


def place(
    config: "Config",
    inventory: Inventory,
    *,
    ports: Iterator[int],
    inherited: Mapping[str, str],
    models: Models,
) -> Placement:
    """The fleet that `config` asks for on the GPUs of `inventory`.

    `ports` gives free ports, drawn in order of group name and number, so that the order of groups
    in the file decides nothing but the order of the result. `inherited` is the environment the
    fleet itself runs in; `models` is what is known of the models before they run.
    Raises PlacementError where groups and GPUs do not go together, or models do not fit.
    """
    seating, tasks = dealt(config, inventory, models)
    if tasks.misfits:

        def misfits(changed: "Config") -> tuple[Misfit, ...]:
            return dealt(changed, inventory, models)[1].misfits

        raise refusal(config, inventory, tasks.misfits, misfits)
    groups = {group.name: group for group in config.groups}
    specs: dict[str, list[InstanceSpec]] = {name: [] for name in groups}
    free = _fresh(ports, config.listen.port)
    for seat in seating.seats:
        port = next(free, 0)
        spec = _own(config, groups[seat.group], seat, tasks, port=port, inherited=inherited)
        specs[seat.group].append(spec)
    instances = [spec for of_group in specs.values() for spec in of_group]
    instances += [_external(external, tasks.routes) for external in config.instances]
    _check_names(instances)
    notes = (*seating.notes, *_unloadable(config), *tasks.notes)
    return Placement(tuple(instances), tasks.routes, notes)


def dealt(config: "Config", inventory: Inventory, models: Models) -> tuple[Seating, Duties]:
    """Who sits where, and what each is to hold, whether it can or not."""

    def need_bytes(group: "GroupConfig", model: str, gpus: Sequence[Gpu]) -> int:
        return models.claim(model, group.over(config.defaults), gpus).total_bytes

    seating = assign(config.groups, inventory, need_bytes, config.defaults)
    return seating, duties(config, seating.seats, models)


def _unloadable(config: "Config") -> Iterator[str]:
    """Groups whose models llama-server refuses: "V cache quantization requires flash_attn"."""
    for group in config.groups:
        settings = group.over(config.defaults)
        kind = settings.kv_cache_type or "f16"
        if settings.flash_attention is False and kind not in _NOT_QUANTISED:
            yield (
                f"group `{group.name}`: with `kv_cache_type: {kind}` and `flash_attention: false`"
                " Ollama loads no model from 0.30 on; older ones take f16"
            )


def _own(
    config: "Config",
    group: "GroupConfig",
    seat: Seat,
    tasks: Duties,
    *,
    port: int,
    inherited: Mapping[str, str],
) -> InstanceSpec:
    if not port:
        raise PlacementError(
            f"no port is left for instance `{seat.name}`", "set `instance_ports` to another start"
        )
    settings = group.over(config.defaults)
    store = str(config.store_of(group))
    return InstanceSpec(
        name=seat.name,
        group=seat.group,
        host=_LOOPBACK,
        port=port,
        slots=settings.num_parallel or 1,
        store=store,
        gpus=seat.gpus,
        environment=environment(settings, seat.gpus, port=port, store=store, inherited=inherited),
        pinned=tasks.pinned.get(seat.name, ()),
        weight=group.weight,
        preload=tuple(tasks.preload.get(seat.name, {}).values()),
        reasons=(
            *seat.reasons,
            *kept.why(settings, seat.gpus),
            *_why_vulkan(settings, seat),
            _why_slots(group, settings),
            *([f"its own models: `store` of group `{group.name}`"] if group.store else ()),
            *tasks.reasons.get(seat.name, ()),
        ),
    )


def _why_vulkan(settings: "Settings", seat: Seat) -> tuple[str, ...]:
    if not settings.vulkan:
        return ()
    if uses_vulkan(settings, seat.gpus):
        return ("`vulkan: true` lets Ollama use what GPUs it finds that way",)
    return ("`vulkan: true` is not followed: it would bring back the GPUs of other instances",)


def _why_slots(group: "GroupConfig", settings: "Settings") -> str:
    if not settings.num_parallel:
        return "1 slot for each model, as Ollama has it where `num_parallel` is not set"
    whose = "the defaults" if group.num_parallel is None else f"group `{group.name}`"
    some = "1 slot" if settings.num_parallel == 1 else f"{settings.num_parallel} slots"
    return f"{some} for each model: `num_parallel` of {whose}"


def _external(external: "ExternalConfig", routes: Mapping[str, frozenset[str]]) -> InstanceSpec:
    url = external.url.rstrip("/")
    parts = urlsplit(url)
    reasons = [
        "someone else runs it: it is watched and used, never started or stopped",
        "1 slot for each model, more where they are found to pay: its `slots` is not set"
        if external.slots is None
        else f"{external.slots} slots for each model at most: its `slots`",
    ]
    if routes:
        reasons.append("takes no model that is bound to groups, for it belongs to none")
    return InstanceSpec(
        name=external.name,
        group="",
        host=parts.hostname or "",
        port=parts.port or (443 if parts.scheme == "https" else 80),
        slots=external.slots or 1,
        most_slots=0 if external.slots else MOST_SLOTS,
        weight=external.weight,
        store=url,
        external=True,
        url=url,
        reasons=tuple(reasons),
    )


def _fresh(ports: Iterable[int], taken: int) -> Iterator[int]:
    """The ports, none of them twice and without the fleet's own."""
    seen = {taken}
    for port in ports:
        if port not in seen:
            seen.add(port)
            yield port


def _check_names(instances: Iterable[InstanceSpec]) -> None:
    """Instance `a-0` may be the first of group `a`, or the only one of a group of that name."""
    for name, count in Counter(spec.name for spec in instances).items():
        if count > 1:
            owners = ", ".join(
                f"group `{spec.group}`" if spec.group else "`instances`"
                for spec in instances
                if spec.name == name
            )
            raise PlacementError(
                f"{count} instances would be called `{name}`: {owners}", "rename one of them"
            )
