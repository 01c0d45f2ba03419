"""The GPUs, a line each: how busy now and in the last minutes, memory, power, temperature."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

from ollama_fleet.state.snapshot import GpuSnapshot
from ollama_fleet.tui.panels.text import Pieces, field, gibibytes, joined
from ollama_fleet.tui.panels.view import View
from ollama_fleet.tui.scene import Scene
from ollama_fleet.tui.trails import STEP_S, STEPS, Trails

LEAST_WIDTH = 60
_HOT_C = 85.0
_NAME_WIDTH = 24
_BAR_WIDTHS = (24, 16, 12, 8, 5)
_LEAST_SPARK = 12  # a minute
_FIXED = 3 + 1 + 4 + 1 + 1 + 6 + 1 + 6  # index, utilisation, power, temperature, and blanks


@dataclass(frozen=True, slots=True)
class _Widths:
    """Cells of the name, of each of the two bars, of the sparkline, and of the memory's figure."""

    name: int
    bar: int
    spark: int
    memory: int


def gpus(scene: Scene, view: View) -> Sequence[Text]:
    """A head and a line for each GPU."""
    cards = scene.snapshot.gpus
    widths = _widths(cards, view)
    return [_head(widths), *(_line(gpu, scene.trails, widths, view) for gpu in cards)]


def line_of(gpu: GpuSnapshot) -> str:
    """One in words."""
    known = [gpu.name]
    if gpu.utilisation_ratio is not None:
        known.append(f"{gpu.utilisation_ratio:.0%} busy")
    if gpu.memory_used_bytes is not None:
        known.append(gibibytes(gpu.memory_used_bytes, gpu.memory_bytes))
    if gpu.power_w is not None:
        known.append(f"{gpu.power_w:.0f} W")
    if gpu.temperature_c is not None:
        known.append(f"{gpu.temperature_c:.0f} C")
    return ", ".join(known)


def _widths(cards: Sequence[GpuSnapshot], view: View) -> _Widths:
    """First the name goes, then the bars shrink; what is left is for the sparkline."""
    memory = max((len(_memory(gpu)) for gpu in cards), default=0)
    names = max((cell_len(view.glyphs.clean(gpu.name)) for gpu in cards), default=0)
    for name in (min(names + 1, _NAME_WIDTH), 0):
        for bar in _BAR_WIDTHS:
            spark = view.width - _FIXED - memory - name - 2 * (bar + 1)
            if spark >= _LEAST_SPARK:
                return _Widths(name, bar, min(spark - 1, STEPS), memory)
    return _Widths(0, _BAR_WIDTHS[-1], 0, memory)


def _head(widths: _Widths) -> Text:
    seconds = f"LAST {widths.spark * STEP_S:.0f} s"
    titles = (
        "GPU".ljust(4),
        "".ljust(widths.name),
        "UTIL".rjust(widths.bar + 5) + " ",
        seconds[: widths.spark].ljust(widths.spark) + " " if widths.spark else "",
        "VRAM".rjust(widths.bar + 1 + widths.memory) + " ",
        " POWER ",
        "  TEMP",
    )
    return Text("".join(titles), "dim")


def _line(gpu: GpuSnapshot, trails: Trails, widths: _Widths, view: View) -> Text:
    glyphs = view.glyphs
    pieces = [(f"{gpu.index:<4}", "bold")]
    if widths.name:
        name = glyphs.fit(glyphs.clean(gpu.name), widths.name - 1)
        pieces += field([(name, "dim")], widths.name)
    busy, power, heat = gpu.utilisation_ratio, gpu.power_w, gpu.temperature_c
    pieces += glyphs.bar(busy or 0.0, widths.bar, "green")
    pieces.append(("    - " if busy is None else f"{busy:>5.0%} ", ""))
    if widths.spark:
        pieces.append((glyphs.spark(trails.of(gpu.uuid), widths.spark) + " ", "green"))
    pieces += _memory_bar(gpu, widths, view)
    pieces.append(("     - " if power is None else f"{power:>4.0f} W ", ""))
    shown = "     -" if heat is None else f"{heat:>3.0f} {glyphs.degrees.strip()}".rjust(6)
    pieces.append((shown, "bold yellow" if heat is not None and heat >= _HOT_C else ""))
    return joined(pieces)


def _memory_bar(gpu: GpuSnapshot, widths: _Widths, view: View) -> Pieces:
    used = gpu.memory_used_bytes
    ratio = None if used is None or not gpu.memory_bytes else used / gpu.memory_bytes
    full = ratio is not None and ratio > 0.95
    bar = view.glyphs.bar(ratio or 0.0, widths.bar, "yellow" if full else "blue")
    return (*bar, (f" {(_memory(gpu) or '-').rjust(widths.memory)} ", ""))


def _memory(gpu: GpuSnapshot) -> str:
    used = gpu.memory_used_bytes
    return "" if used is None else gibibytes(used, gpu.memory_bytes)
