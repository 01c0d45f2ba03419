"""Paths of keys in a configuration: `queue.limit`, `groups[0].gpus`, `models["llama3.3:70b"]`."""

import json
import re

KeyPath = tuple[str | int, ...]

_MAX_SHOWN = 80
_PLAIN = re.compile(r"[A-Za-z0-9_:-]+")
_STEP = re.compile(
    r"""\.?(?:(?P<plain>[^.\[\]"]+)|\[(?P<index>[0-9]{1,6})\]|\[(?P<quoted>"(?:[^"\\]|\\.)*")\])"""
)


def show_path(path: KeyPath) -> str:
    """The path on one line, whatever the keys contain; very long keys are cut."""
    shown = ""
    for step in path:
        if isinstance(step, int):
            shown += f"[{step}]"
        elif _PLAIN.fullmatch(step) and len(step) <= _MAX_SHOWN:
            shown += f".{step}" if shown else step
        else:
            cut = step if len(step) <= _MAX_SHOWN else step[:_MAX_SHOWN] + "…"
            shown += f"[{json.dumps(cut)}]"
    return shown


def parse_path(text: str) -> KeyPath:
    """Read what `show_path` writes; an index may also stand between dots (`groups.0.gpus`).

    Raises ValueError for anything else.
    """
    steps: list[str | int] = []
    end = 0
    while end < len(text):
        match = _STEP.match(text, end)
        if match is None:
            break
        steps.append(_step(match))
        end = match.end()
    if not steps or end < len(text) or text.startswith("."):
        raise ValueError(f"{text!r} is not a key such as queue.limit or groups[0].gpus")
    return tuple(steps)


def _step(match: re.Match[str]) -> str | int:
    if match["index"] is not None:
        return int(match["index"])
    if match["quoted"] is not None:
        return str(json.loads(match["quoted"]))
    return match["plain"]
