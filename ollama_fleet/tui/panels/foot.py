"""The last line, and the page that explains the screen."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from rich.text import Text

from ollama_fleet.tui.panels.text import cropped
from ollama_fleet.tui.panels.view import Mode, View

Keys = Sequence[tuple[str, str]]

_FLEET: Final[Keys] = (
    ("q", "leave"),
    ("space", "pause"),
    ("?", "help"),
    ("enter", "more"),
    ("/", "filter"),
    ("s", "sort"),
    ("r", "restart"),
    ("d", "drain"),
    ("1-6", "views"),
)
_KEYS: Final[Mapping[Mode, Keys]] = MappingProxyType(
    {
        Mode.FLEET: _FLEET,
        Mode.DETAIL: (("esc", "back"), ("q", "leave"), ("space", "pause"), ("?", "help")),
        Mode.HELP: (("q", "leave"), ("?", "back")),
        Mode.FILTER: (("enter", "keep it"), ("esc", "show everything")),
        Mode.CONFIRM: (("y", "restart"), ("esc", "leave it")),
        Mode.DRAIN: (("y", "drain"), ("u", "undrain"), ("esc", "leave it")),
        Mode.ASKING: (
            ("d", "detach: it goes on running"),
            ("s", "stop the fleet"),
            ("esc", "stay"),
        ),
    }
)
_HELP: Final = (
    ("q, Ctrl-C", "leave; the fleet goes on running unless you choose to stop it"),
    ("1-6, mouse", "overview, requests, models, logs, decisions, events"),
    ("up down", "choose a row; enter shows all of it, esc goes back"),
    ("/", "show only rows that have some words (and, after a !, lack others)"),
    ("s", "sort by the next column; after the last one, as they come"),
    ("r", "restart the chosen row's instance, its requests first, if you say y"),
    ("d", "take it out of rotation (y), or put it back (u): its requests go on"),
    ("space", "hold the screen still, and go on"),
    ("", ""),
    ("GPU", "index of its GPUs; cpu: it has none; ext: someone else runs it"),
    ("UTIL VRAM", "of its GPUs, whoever uses them"),
    ("STATE", "starting, ready, draining, stopping, stopped, backoff (pause before"),
    ("", "a restart), failed (given up), unhealthy (silent), drained (out of"),
    ("", "rotation), ejected (has failed requests: gets none for a while)"),
    ("BUSY WAIT", "requests it works on, of how many at once; those that wait for it"),
    ("TOK/S", "tokens per second over the last three seconds"),
    ("TTFT P95", "time to the first token of streams in five minutes: median, 95 %"),
    ("REQS FAIL", "requests it was given, and how many failed there"),
    ("RUNS", "times it was started; more than once is a restart"),
    ("MODELS", "in its memory: what each takes, the time until an idle one unloads"),
)


def foot(view: View) -> Text:
    """The keys that do something now."""
    line = Text.assemble((_said(view), "bold yellow"))
    keys = (
        Text.assemble((key, "bold cyan"), f" {what}")
        for key, what in _KEYS[view.mode]
        if not (view.readonly and what in ("restart", "drain"))
    )
    return cropped(line.append(Text("  ").join(keys)), view.width)


def _said(view: View) -> str:
    """The question, what is being typed, or what became of the last command."""
    clean = view.glyphs.clean
    if view.mode is Mode.ASKING:
        return "leave the fleet?  "
    if view.mode is Mode.CONFIRM:
        return f"restart {clean(view.subject)}? its requests end first  "
    if view.mode is Mode.DRAIN:
        return f"give {clean(view.subject)} no new requests?  "
    if view.mode is Mode.FILTER:
        return f"/{clean(view.words)}_  "
    return f"{clean(view.notice)}  " if view.notice else ""


def explanation() -> list[Text]:
    """What the keys do and the columns mean."""
    return [Text.assemble((f"{term:<11}", "bold"), what) for term, what in _HELP]
