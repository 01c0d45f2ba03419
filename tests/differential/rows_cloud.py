"""Rows about models at ollama.com: it is out of reach, wants to know who asks, or answers."""

from collections.abc import Iterator

from request_table import SAID, Row, post

GONE, LOCKED, CROWDED, OPEN, NAMED = "gone", "locked", "crowded", "open", "named"
ROUTES = {
    "/api/generate": {"prompt": "hi"},
    "/api/chat": {"messages": SAID},
    "/api/embed": {"input": "hi"},
    "/api/show": {},
    "/v1/chat/completions": {"messages": SAID},
    "/v1/completions": {"prompt": "hi"},
    "/v1/embeddings": {"input": "hi"},
    "/v1/responses": {"input": "hi"},
    "/v1/messages": {"messages": SAID, "max_tokens": 3},
}
SILENT = ("/api/embed", "/api/show", "/v1/embeddings")  # they know no streams


def _asked(
    what: str, model: str, status: int, says: bytes, *, streams: bool = False, **more: bool
) -> Iterator[Row]:
    for path, body in ROUTES.items():
        asked = {"model": f"{model}:cloud", **body}
        yield post(f"{what}, whole: {path}", path, asked | {"stream": False}, status, says=says,
                   **more)  # fmt: skip
        if path not in SILENT:
            stream = streams and path.startswith("/v1/")
            yield post(f"{what}, stream: {path}", path, asked | {"stream": True}, status,
                       stream=streams, says=b"data: " if stream else says, **more)  # fmt: skip


# What is told of the way there has the time in it, and what comes from there has any chunks.
OUT_OF_REACH = tuple(_asked("a cloud out of reach", GONE, 502, b'{"error":"', deterministic=False))
REACHED = (
    *_asked("a cloud that wants a name", LOCKED, 401, b"signin_url"),
    *_asked("a cloud that is crowded", CROWDED, 429, b"too many"),
    post("a cloud that names its server", "/api/show", {"model": f"{NAMED}:cloud"}),
    *_asked("a cloud that answers", OPEN, 200, b"from afar", streams=True, deterministic=False),
)
