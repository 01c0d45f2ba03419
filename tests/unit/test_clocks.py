"""Who may ask what time of day it is: nothing that waits or measures, so that a step costs nothing.

Everything else takes a monotonic `clock`, or `wall` where a time of day is written down.
"""

import ast
import re
from pathlib import Path

import ollama_fleet

ROOT = Path(ollama_fleet.__file__).parent
OUTSIDE = ("bench", "cli", "doctor", "sim", "tui")  # other programs, or screens: ages for people
HANDED_ON = {
    "api/admin/models.py": "ages of files on disk",
    "control/stores/manifests.py": "whether a file was just written, by its own time",
    "fleet/certificate.py": "certificates expire at a time of day",
    "fleet/commands.py": "the age of what may be pruned",
    "fleet/front.py": "ids of requests differ from one start to the next",
    "fleet/keys.py": "keys expire at a time of day",
    "fleet/routing.py": "when requests arrived, for their records; when models expire, as told",
    "fleet/running.py": "when events happened and requests ended",
}


def asks_the_time_of_day(text):
    if not re.search(r"\btime\b|\bdatetime\b|\bdate\b", text):
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield (node.value.id, node.attr) in {
                ("time", "time"),
                ("time", "time_ns"),
                ("datetime", "now"),
                ("datetime", "utcnow"),
                ("datetime", "today"),
                ("date", "today"),
            }
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            yield any(name.name in {"time", "time_ns"} for name in node.names)


def test_the_time_of_day_is_asked_only_where_it_is_handed_on():
    found = set()
    for path in ROOT.rglob("*.py"):
        place = path.relative_to(ROOT)
        if place.parts[0] not in OUTSIDE and any(asks_the_time_of_day(path.read_text())):
            found.add(place.as_posix())
    assert found == set(HANDED_ON)
