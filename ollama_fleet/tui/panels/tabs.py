"""The line that names the views, with the one that is shown, and what of it is shown."""

from rich.cells import cell_len
from rich.text import Text

from ollama_fleet.tui.panels.text import cropped
from ollama_fleet.tui.panels.view import Tab, View


def tabs(view: View, count: str) -> Text:
    """All of them by their keys; at the right what rows are shown, and how they were chosen."""
    line = Text()
    for tab, label in _labels(view):
        shown = tab is view.tab
        line.append(label, "bold reverse" if shown else "cyan")
    said = _said(view, count)
    rule = view.width - line.cell_len - cell_len(said)
    line.append(view.glyphs.rule * max(0, rule), "dim").append(said, "dim")
    return cropped(line, view.width)


def tab_at(view: View, x: int) -> Tab | None:
    """The view that is named at that column."""
    start = 0
    for tab, label in _labels(view):
        if start <= x < start + cell_len(label):
            return tab
        start += cell_len(label)
    return None


def _labels(view: View) -> list[tuple[Tab, str]]:
    """Their names, where there is room for all; else numbers, and the name of the one shown."""
    full = [(tab, f" {tab.value} {tab.label} ") for tab in Tab]
    if sum(cell_len(label) for _, label in full) <= view.width:
        return full
    return [
        (tab, f" {tab.value} {tab.label} " if tab is view.tab else f" {tab.value} ") for tab in Tab
    ]


def _said(view: View, count: str) -> str:
    words = view.glyphs.clean(view.words)
    parts = [f"/{words}" if words else "", f"by {view.sort}" if view.sort else "", count]
    said = "  ".join(part for part in parts if part)
    return f" {said} " if said else ""
