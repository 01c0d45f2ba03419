"""The last line, and the page that explains the screen."""

from rich.text import Text

from ollama_fleet.tui.panels.text import cropped
from ollama_fleet.tui.panels.view import Mode, View

_KEYS = {
    Mode.FLEET: (("q", "leave"), ("space", "pause"), ("?", "help")),
    Mode.HELP: (("q", "leave"), ("?", "back")),
    Mode.ASKING: (("d", "detach: it goes on running"), ("s", "stop the fleet"), ("esc", "stay")),
}
_HELP = (
    ("q, Ctrl-C", "leave; the fleet goes on running unless you choose to stop it"),
    ("space", "hold the screen still, and go on"),
    ("?", "this page"),
    ("", ""),
    ("GPU", "index of its GPUs; cpu: it has none; ext: someone else runs it"),
    ("UTIL VRAM", "of its GPUs, whoever uses them"),
    ("STATE", "starting, ready, draining, stopping, backoff (pause before"),
    ("", "a restart), failed (given up), stopped; unhealthy: probes fail"),
    ("BUSY", "requests it works on, and how many it can per model"),
    ("WAIT", "requests that wait in the router for this instance"),
    ("TOK/S", "tokens per second over the last three seconds"),
    ("REQS FAIL", "requests it was given, and how many failed there"),
    ("RUNS", "times it was started; more than once is a restart"),
    ("MODELS", "in its memory, with the time until an idle one unloads"),
)


def foot(view: View) -> Text:
    """The keys that do something now."""
    line = Text("leave the fleet?  ", "bold yellow") if view.mode is Mode.ASKING else Text()
    keys = (Text.assemble((key, "bold cyan"), f" {what}") for key, what in _KEYS[view.mode])
    return cropped(line.append(Text("   ").join(keys)), view.width)


def explanation() -> list[Text]:
    """What the keys do and the columns mean."""
    return [Text.assemble((f"{term:<11}", "bold"), what) for term, what in _HELP]
