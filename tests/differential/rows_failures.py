"""Rows about models that fail: one cannot be loaded, one dies, one repeats itself, one is busy.

They are asked of pairs of their own, in whose stores these models are: those of `FAILING` in the
simulated one, `BROKEN` and `STUTTER` in the real one.
"""

from collections.abc import Iterator
from typing import Any

from request_table import SAID, Row, get, post

STILLBORN, DYING, BUSY, BROKEN, STUTTER = "stillborn", "dying", "busy", "broken", "stutter"
FAILING = {
    STILLBORN: "runner_death:model=stillborn;after_tokens=0",
    DYING: "runner_death:model=dying;after_tokens=2",
    BUSY: "busy:model=busy",
    BROKEN: "load_failure:model=broken",
    STUTTER: "repetition:model=stutter;after_tokens=31",
}
"""Simulated models, each with the fault that strikes whoever asks for it."""

ROUTES: dict[str, dict[str, Any]] = {
    "/api/generate": {"prompt": "hi"},
    "/api/chat": {"messages": SAID},
    "/v1/chat/completions": {"messages": SAID},
    "/v1/completions": {"prompt": "hi"},
    "/v1/responses": {"input": "hi"},
    "/v1/messages": {"messages": SAID, "max_tokens": 99},
}
V1 = tuple(path for path in ROUTES if path.startswith("/v1/"))


def _asked(
    what: str, model: str, status: int, says: bytes, *, begun: bool = False
) -> Iterator[Row]:
    """A model on every route, both ways; a stream has a status of its own where it had begun."""
    for path, body in ROUTES.items():
        asked = {"model": model, **body}
        yield post(f"{what}, stream: {path}", path, asked | {"stream": True},
                   200 if begun else status, stream=begun, says=b"" if begun else says)  # fmt: skip
        yield post(f"{what}, whole: {path}", path, asked | {"stream": False}, status, says=says)


_DIED = b"an error was encountered while running the model: unexpected EOF"
_EMBED = {"model": BROKEN, "input": "hi"}
_NOT_LOADED = b"exceeds file size"

_LOADS = (
    *_asked("a model that cannot be loaded", BROKEN, 500, _NOT_LOADED),
    post("a load of what cannot be loaded", "/api/generate", {"model": BROKEN}, 500,
         says=_NOT_LOADED),
    post("embed with what cannot be loaded", "/api/embed", _EMBED, 500, says=_NOT_LOADED),
    post("embeddings with what cannot be loaded", "/v1/embeddings", _EMBED, 500, says=_NOT_LOADED),
)  # fmt: skip
REPEATS = tuple(_asked("a model that repeats itself", STUTTER, 200, b"", begun=True))
SIMULATED = (
    *_LOADS,
    *REPEATS,
    *_asked("a runner that dies at once", STILLBORN, 500, _DIED),
    *_asked("a runner that dies", DYING, 500, _DIED, begun=True),
    *_asked("a server that is busy", BUSY, 503, b"maximum pending requests exceeded"),
    get("after all that", "/api/version"),
)
REAL = (
    *_LOADS,
    *REPEATS,
    get("after all that", "/api/version"),
)  # fmt: skip
