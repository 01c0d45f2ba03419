"""What an instance's last column says: why it does not serve, or the models in its memory."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from rich.text import Text

from ollama_fleet.state.records import Phase
from ollama_fleet.state.snapshot import InstanceSnapshot
from ollama_fleet.tui.panels.text import Glyphs, Pieces, joined
from ollama_fleet.tui.panels.view import View
from ollama_fleet.units import show_bytes, show_duration

_FOREVER_S = 10 * 365 * 86400  # Ollama writes a keep_alive without end as a time centuries ahead


def trouble(instance: InstanceSnapshot) -> bool:
    """Whether there is a cause to tell: it does not serve, or its probes fail."""
    return bool(instance.cause) and not instance.healthy


def detail(instance: InstanceSnapshot, view: View, width: int) -> Text:
    """The cause if there is trouble, else what is being loaded and in memory, until when."""
    if trouble(instance):
        style = "red" if instance.phase is Phase.FAILED else "yellow"
        return Text(view.glyphs.fit(view.glyphs.clean(instance.cause), width), style)
    said = [*_reasons(instance, view.glyphs)]
    said += [
        _model(instance, row, view)
        for row in instance.resident
        if isinstance(row.get("name"), str) and row["name"] not in instance.reloading
    ]
    if not said:
        return Text("no model in memory" if instance.phase is Phase.READY else "", "dim")
    dot = (f" {view.glyphs.dot} ", "dim")
    text = joined([piece for pieces in said for piece in (dot, *pieces)][1:])
    if text.cell_len > width:
        room = max(0, width - len(view.glyphs.more))
        text.truncate(room, overflow="crop")
        text.append(view.glyphs.more, "dim")
    return text


def _reasons(instance: InstanceSnapshot, glyphs: Glyphs) -> Iterator[Pieces]:
    """Why it is given no requests, or none for some models, or answers none of them yet."""
    if instance.drain is not None:
        yield [(f"drained: {glyphs.clean(instance.drain)}", "yellow")]
    if instance.ejected_s:
        yield [(f"ejected: {glyphs.clean(instance.ejected)}", "yellow")]
    for name in instance.reloading:
        yield [(f"reloading {glyphs.clean(name).removesuffix(':latest')}", "cyan")]
    for name in instance.loading:
        if name not in instance.reloading:
            yield [(f"loading {glyphs.clean(name).removesuffix(':latest')}", "magenta")]


def _model(instance: InstanceSnapshot, row: Mapping[str, Any], view: View) -> Pieces:
    remarks = [(f" {word}", style) for word, style in _remarks(instance, row, view)]
    return [(view.glyphs.clean(row["name"]).removesuffix(":latest"), ""), *remarks]


def _remarks(
    instance: InstanceSnapshot, row: Mapping[str, Any], view: View
) -> Iterator[tuple[str, str]]:
    size, in_vram = row.get("size"), row.get("size_vram")
    if isinstance(size, int):
        gib = size / 2**30
        yield (f"{gib:.1f}G" if gib >= 0.05 else "<0.1G"), "dim"
    if instance.gpus and isinstance(size, int) and isinstance(in_vram, int) and in_vram < size:
        yield (f"{in_vram / size:.0%} GPU" if in_vram else "on CPU"), "yellow"
    expires = time_to_unload(row.get("expires_at"), view.now_unix_s, view.glyphs)
    # Ollama moves the time only when a model falls idle: one that has passed says that it works.
    if expires:
        yield expires, "dim"


def in_memory(instance: InstanceSnapshot, model: str, row: Mapping[str, Any], view: View) -> str:
    """A model that is there, in words: its size, until when, and what it has to do."""
    said = []
    size, in_vram = row.get("size"), row.get("size_vram")
    if isinstance(size, int) and isinstance(in_vram, int):
        part = "" if in_vram >= size else f", {show_bytes(in_vram)} of it"
        said.append(f"{show_bytes(size)}{part} on the GPU")
    goes = time_to_unload(row.get("expires_at"), view.now_unix_s, view.glyphs)
    said += [f"unloads in {goes}"] if goes else []
    busy = instance.in_flight_by_model.get(model, 0)
    return ", ".join([*said, f"{busy} in flight"])


def time_to_unload(stamp: object, now_unix_s: float, glyphs: Glyphs) -> str:
    """From now to an RFC 3339 time, for people; "" if it has passed or cannot be read."""
    if not isinstance(stamp, str):
        return ""
    try:
        left_s = datetime.fromisoformat(stamp).timestamp() - now_unix_s
    except (ValueError, OverflowError):
        return ""
    if left_s > _FOREVER_S:
        return glyphs.forever
    return _roughly(left_s) if left_s > 0 else ""


def _roughly(seconds: float) -> str:
    """Minutes without their seconds, which would flicker."""
    return f"{seconds // 60:.0f}m" if 60 <= seconds < 3600 else show_duration(seconds)
