"""The rows whose answers differ: by intent, with what may differ; else with what has to change.

docs/differences.md says why of the first kind. A row of the second that has begun to pass fails the
suite (xfail is strict): take it out here. Last come the rows in which the simulation is no Ollama.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from rows_failures import V1

BOTH = frozenset(("sim", "real"))
REAL = frozenset(("real",))

_UNREAD = frozenset(
    ("status line", "header Content-Length", "header Content-Type", "framing", "body, piece 0")
)
_REFUSED = _UNREAD | {"header Allow"}
_UNGRANTED = frozenset(
    (
        "status line",
        "header Access-Control-Allow-Origin",
        "header Content-Type",
        "header Vary",
        "body, piece 0",
    )
)

MEANT: Mapping[str, frozenset[str]] = {
    "absolute form": _UNREAD,
    "raw bytes in a path": _UNREAD,
    "raw UTF-8 in a path": _UNREAD,
    "a method of nobody": _REFUSED,
    "a method in small letters": _REFUSED,
    "no Host": frozenset(("status line", "body, piece 0")),
    "an Origin beyond ASCII": _UNGRANTED,
    "a list of more than 2 KiB over HTTP/1.0": frozenset(("framing", "header Content-Length")),
    "a cloud that names its server": frozenset(("header Server",)),
    **{
        f"{what}, stream: {path}": frozenset(("pieces of the body",))
        for what in ("a runner that dies", "a model that repeats itself")
        for path in V1
    },
}
"""Row -> everything that differs in it."""


@dataclass(frozen=True, slots=True)
class Known:
    """Why a row fails, and beside which kinds of Ollama."""

    reason: str
    on: frozenset[str] = BOTH


NOT_MEANT: Mapping[str, Known] = {}
"""Row -> why it differs."""

UNLIKE: Mapping[str, frozenset[str]] = {
    # A made-up model's file has fewer metadata; its size and its store's path have other lengths.
    **dict.fromkeys(
        (
            "show by its old field",
            "show of an embedding model",
            "show in capitals",
            "show verbose",
            "create with parameters, then show",
            "local model",
        ),
        frozenset(("records",)),
    ),
    **dict.fromkeys(
        (
            "tags HEAD",
            "keep-alive: HEAD, then GET",
            "blob that is absent",
            "blob that is absent, by a dash",
            "blob with its colon escaped",
        ),
        frozenset(("header Content-Length",)),
    ),
    "create from a blob that is absent, whole": frozenset(("body, piece 0",)),
    "push of no store, whole": frozenset(("body, piece 0",)),
    "transcription as text": frozenset(("records",)),  # it is nothing but content
}
"""Row -> everything in which the simulated Ollama is unlike the real one."""
