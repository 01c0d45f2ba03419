"""What a view puts between the head of a screen and its foot, and which rows can be chosen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.text import Text

from ollama_fleet.tui.panels.view import View


@dataclass(frozen=True, slots=True)
class Body:
    """The lines; the keys of all rows, `at` which of them is the chosen one, and what it is about.

    `rows` has the keys of those that are shown, by their line; `titles` are the columns to sort by;
    `about` is the instance that the chosen row is about, "" for none; `count` says what is shown.
    """

    lines: Sequence[Text]
    rows: Mapping[int, str] = field(default_factory=dict)
    keys: Sequence[str] = ()
    at: int = 0
    titles: Sequence[str] = ()
    about: str = ""
    count: str = ""


def matches(text: str, words: str) -> bool:
    """Whether a row with this text is wanted: it has all the words, and none that follow a `!`."""
    folded = text.casefold()
    return all(
        (word[1:] not in folded) if word.startswith("!") and word[1:] else word in folded
        for word in words.casefold().split()
    )


def place(keys: Sequence[str], view: View, *, last: bool = False) -> int:
    """Which row is the chosen one: by its key, else by where it was; `last` where nothing is said.

    0 where there is none.
    """
    if view.chosen in keys:
        return keys.index(view.chosen)
    end = max(0, len(keys) - 1)
    return end if last else min(view.at, end)


def nothing(view: View, why: str) -> Body:
    """A body without rows says why, and what to do."""
    if view.words:
        why = f"nothing here has {view.glyphs.clean(view.words)!r}; esc shows everything"
    return Body([Text(view.glyphs.fit(why, view.width), "dim")])
