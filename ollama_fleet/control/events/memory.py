"""What has come into an instance's memory and gone from it, as events. Pure."""

from collections.abc import Iterable, Iterator
from typing import Final

from ollama_fleet.state import Instance, Kind, Notice, ResidentModel
from ollama_fleet.units import show_bytes

MOST: Final = 16
"""Models that are told of one by one when they come at once, or go at once."""

_EARLY_S: Final = 5.0  # before its time: an instance's clock and ours may differ by less


def changes(
    instance: Instance, before: Iterable[ResidentModel], now_unix_s: float
) -> Iterator[Notice]:
    """What is in its memory now that was not before, and the other way round.

    What went before its time while another came has been evicted: Ollama makes room so. One name
    may be there twice: new weights of it are another model. Beyond MOST they are only counted.
    """
    was, now = _by_weights(before), _by_weights(instance.rows)
    came = [model for row, model in now.items() if row not in was]
    went = [model for row, model in was.items() if row not in now]
    for model in went[:MOST]:
        yield _gone(instance, model, came, now_unix_s)
    yield from _more(Kind.MODEL_UNLOADED, "are no longer in memory", instance, went)
    for model in came[:MOST]:
        yield from _come(instance, model)
    yield from _more(Kind.MODEL_LOADED, "are in memory", instance, came)


def _by_weights(rows: Iterable[ResidentModel]) -> dict[tuple[str, str], ResidentModel]:
    return {(row.key, row.digest): row for row in rows}


def _gone(
    instance: Instance, model: ResidentModel, came: list[ResidentModel], now_unix_s: float
) -> Notice:
    loading = any(runner.loading for runner in instance.runners.values())
    if model.expires_s - now_unix_s > _EARLY_S and (came or loading):
        room = f" to make room for {came[0].name}" if came else " to make room for another"
        return _told(Kind.MODEL_EVICTED, f"had to go{room}", instance, model)
    return _told(Kind.MODEL_UNLOADED, "is no longer in memory", instance, model)


def _come(instance: Instance, model: ResidentModel) -> Iterator[Notice]:
    size = show_bytes(model.size_bytes)
    yield _told(Kind.MODEL_LOADED, f"is in memory, {size}", instance, model)
    if not instance.spec.gpus or not model.size_bytes:
        return
    if model.vram_bytes <= 0:
        text = f"runs on the CPU: none of its {size} is in GPU memory"
        yield _told(Kind.CPU_FALLBACK, text, instance, model)
    elif model.vram_bytes < model.size_bytes:
        share = model.vram_bytes / model.size_bytes
        text = f"is only in part in GPU memory: {share:.0%} of {size}"
        yield _told(Kind.PARTIAL_OFFLOAD, text, instance, model)


def _told(kind: Kind, text: str, instance: Instance, model: ResidentModel) -> Notice:
    figures = {"size_bytes": model.size_bytes, "vram_bytes": model.vram_bytes}
    return Notice(kind=kind, text=text, instance=instance.name, model=model.name, figures=figures)


def _more(
    kind: Kind, text: str, instance: Instance, models: list[ResidentModel]
) -> Iterator[Notice]:
    if (more := len(models) - MOST) > 0:
        figures = {"models": more}
        yield Notice(kind=kind, text=f"{more} more {text}", instance=instance.name, figures=figures)
