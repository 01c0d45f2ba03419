"""The fleet at a glance: its GPUs where there is room for them, its instances, pulls and notes."""

from collections.abc import Sequence
from dataclasses import replace

from rich.text import Text

from ollama_fleet.state.snapshot import GpuSnapshot, InstanceSnapshot
from ollama_fleet.tui.panels import gpus as cards
from ollama_fleet.tui.panels.body import Body
from ollama_fleet.tui.panels.fields import fields, title
from ollama_fleet.tui.panels.instances import instances
from ollama_fleet.tui.panels.models import in_memory
from ollama_fleet.tui.panels.pulls import pulls
from ollama_fleet.tui.panels.text import plural
from ollama_fleet.tui.panels.view import View
from ollama_fleet.tui.scene import Scene
from ollama_fleet.units import show_duration


def overview(scene: Scene, view: View, room: int | None) -> Body:
    """GPUs above, instances below; where not both fit, an instance's line has its GPUs' figures."""
    snapshot = scene.snapshot
    running = pulls(snapshot, view)
    under = [Text(), *running] if running else []
    left = None if room is None else room - len(under)
    above = [*cards.gpus(scene, view), Text()] if _have_room(scene, view, left) else []
    rest = None if left is None else left - len(above)
    table = instances(scene, view, rest, with_gpus=not above)
    lines = [*above, *table.lines, *under]
    told = _notes(scene, view)
    notes = [Text(), *told] if told else []
    if room is None or len(lines) + len(notes) <= room:
        lines += notes
    return replace(table, lines=lines, rows={y + len(above): key for y, key in table.rows.items()})


def detail(scene: Scene, key: str, view: View) -> Sequence[Text]:
    """All that is known of one instance."""
    instance = next((i for i in scene.snapshot.instances if i.name == key), None)
    if instance is None:
        return [Text(f"there is no instance {view.glyphs.clean(key)} any more", "dim")]
    by_uuid = {gpu.uuid: gpu for gpu in scene.snapshot.gpus}
    known = [by_uuid[uuid] for uuid in instance.gpus if uuid in by_uuid]
    lines = [*fields(_told(instance, known), view), Text(), title("in memory")]
    lines += fields(_resident(instance, view), view) or [Text("nothing", "dim")]
    if instance.log_tail:
        tail = [Text(view.glyphs.clean(line)) for line in instance.log_tail]
        lines += [Text(), title("the last lines of its log"), *tail]
    return lines


def _have_room(scene: Scene, view: View, room: int | None) -> bool:
    """For a line per GPU above the instances, and two per instance where models stand below."""
    count, beside = len(scene.snapshot.gpus), len(scene.snapshot.instances)
    if not count or view.width < cards.LEAST_WIDTH:
        return False
    return room is None or count + 2 + 1 + beside <= room


def _notes(scene: Scene, view: View) -> Sequence[Text]:
    glyphs, snapshot = view.glyphs, scene.snapshot
    notes = dict.fromkeys(map(glyphs.clean, (*snapshot.gpu_changes, *snapshot.notes)))
    return [Text(glyphs.fit(note, view.width), "dim") for note in notes]


def _told(instance: InstanceSnapshot, known: Sequence[GpuSnapshot]) -> Sequence[tuple[str, str]]:
    state = f"{instance.phase} for {show_duration(instance.phase_s)}, {instance.health}"
    told = [("instance", f"{instance.name}, group {instance.group}"), ("state", state)]
    told += [("cause", instance.cause)] if instance.cause else []
    told += [("drained", instance.drain)] if instance.drain is not None else []
    told += [("ejected", instance.ejected)] if instance.ejected_s else []
    told += [
        ("URL", instance.url),
        ("Ollama", instance.version or "not known yet"),
        ("process", f"pid {instance.pid}, {plural(instance.starts, 'start')}"),
        ("requests", f"{instance.requests} given, {instance.failures} failed"),
        ("now", f"{instance.in_flight} in flight, {instance.waiting} waiting for it"),
        ("slots", f"{instance.slots} per model"),
    ]
    told += [(f"GPU {gpu.index}", cards.line_of(gpu)) for gpu in known]
    return [*told, ("stored", f"{len(instance.stored)}: {', '.join(instance.stored)}")]


def _resident(instance: InstanceSnapshot, view: View) -> Sequence[tuple[str, str]]:
    named = ((str(row.get("name")), row) for row in instance.resident)
    return [("", f"{name}, {in_memory(instance, name, row, view)}") for name, row in named]
