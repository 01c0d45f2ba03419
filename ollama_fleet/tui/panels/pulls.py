"""Running pulls, a line each."""

from rich.text import Text

from ollama_fleet.state.records import Pull
from ollama_fleet.state.snapshot import FleetSnapshot
from ollama_fleet.tui.panels.text import joined
from ollama_fleet.tui.panels.view import View
from ollama_fleet.units import show_bytes

MOST = 4  # pulls that are shown
_BAR_WIDTH = 20


def pulls(snapshot: FleetSnapshot, view: View) -> list[Text]:
    """Every running pull with its bar; more than a few are counted."""
    lines = [_pull(pull, view) for pull in snapshot.pulls[:MOST]]
    more = len(snapshot.pulls) - MOST
    if more > 0:
        lines.append(Text(f"{view.glyphs.more} {more} more pulls", "yellow"))
    return lines


def _pull(pull: Pull, view: View) -> Text:
    glyphs = view.glyphs
    line = Text.assemble(
        ("pull ", "bold"),
        glyphs.clean(pull.model),
        (f" {glyphs.arrow} {glyphs.clean(pull.instance)}  ", "dim"),
    )
    if pull.total_bytes > 0:
        ratio = min(pull.completed_bytes / pull.total_bytes, 1.0)
        line.append(joined(glyphs.bar(ratio, min(_BAR_WIDTH, view.width // 4), "magenta")))
        line.append(f" {ratio:4.0%}  ")
        line.append(f"{show_bytes(pull.completed_bytes)} of {show_bytes(pull.total_bytes)}  ")
    line.append(glyphs.clean(pull.status), "dim")
    return line
