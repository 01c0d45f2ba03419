"""What is known of one thing: a name and a text a line, long ones on several."""

from collections.abc import Iterable, Sequence
from textwrap import wrap

from rich.cells import cell_len, chop_cells
from rich.text import Text

from ollama_fleet.tui.panels.text import left
from ollama_fleet.tui.panels.view import View

_NAME_WIDTH = 12
_MOST_NAME_WIDTH = 24


def fields(told: Iterable[tuple[str, str]], view: View) -> Sequence[Text]:
    """Each name with its text beside it; a text that is too long goes on below."""
    clean = view.glyphs.clean
    named = [(clean(name), clean(text)) for name, text in told]
    beside = max((cell_len(name) + 1 for name, _ in named), default=0)
    beside = min(max(beside, _NAME_WIDTH), _MOST_NAME_WIDTH)
    lines: list[Text] = []
    for name, text in named:
        pieces = folded(text, max(1, view.width - beside))
        for n, piece in enumerate(pieces):
            head = left(Text(name if n == 0 else "", "bold"), beside - 1)
            lines.append(head.append(f" {piece}", "not bold"))
    return lines


def title(text: str) -> Text:
    """What stands over a group of lines."""
    return Text(text, "bold cyan")


def folded(text: str, width: int) -> Sequence[str]:
    """A clean text in pieces of at most `width` cells, one at least; parted between words."""
    plain = cell_len(text) == len(text)
    return (wrap(text, width) if plain else chop_cells(text, width)) or [""]
