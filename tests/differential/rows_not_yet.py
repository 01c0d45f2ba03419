"""What the router does not have yet, and the answer of an Ollama that has it.

A row that has begun to pass fails the suite (xfail is strict): move it to the table it belongs to.
"""

import hashlib
from dataclasses import dataclass

from request_table import CHAT, UNKNOWN, Row, get, one_after_another, only, post

BLOB = b"some bytes"
DIGEST = "sha256:" + "e4c8ab2e" * 8  # of nothing that is stored
TRUE_DIGEST = f"sha256:{hashlib.sha256(BLOB).hexdigest()}"
LOCAL = (("Origin", "http://localhost:3000"),)


@dataclass(frozen=True, slots=True)
class NotYet:
    """A row and a part of the last answer's body, as one Ollama gives it."""

    row: Row
    body: bytes = b""


def _copy(name: str) -> Row:
    return post("", "/api/copy", {"source": CHAT, "destination": name})


def _delete(name: str) -> Row:
    return post("", "/api/delete", {"model": name}, method="DELETE")


NOT_YET = (
    NotYet(one_after_another("copy, then delete", (_copy("copied"), _delete("copied")))),
    NotYet(
        post("copy of no store", "/api/copy", {"source": UNKNOWN, "destination": "x"}, 404),
        b'{"error":"model \\"nope\\" not found"}',
    ),
    NotYet(
        post("delete of no store", "/api/delete", {"model": UNKNOWN}, 404, method="DELETE"),
        b"{\"error\":\"model 'nope' not found\"}",
    ),
    NotYet(get("GET of delete", "/api/delete", 405), b"405 method not allowed"),
    NotYet(
        one_after_another(
            "create from another, then delete",
            (post("", "/api/create", {"model": "made", "from": CHAT}), _delete("made")),
        )
    ),
    NotYet(
        post("create from nothing", "/api/create", {"model": "made"}, 400),
        b"neither 'from' or 'files' was specified",
    ),
    *(
        NotYet(row)
        for row in only(  # a real pair shares its store: there the second one finds it stored
            "sim",
            one_after_another(
                "blob: asked for, sent, sent again, asked for",
                (
                    get("", f"/api/blobs/{TRUE_DIGEST}", method="HEAD"),
                    post("", f"/api/blobs/{TRUE_DIGEST}", BLOB),
                    post("", f"/api/blobs/{TRUE_DIGEST}", BLOB),
                    get("", f"/api/blobs/{TRUE_DIGEST}", method="HEAD"),
                ),
            ),
        )
    ),
    NotYet(get("GET of a blob", f"/api/blobs/{DIGEST}", 405), b"405 method not allowed"),
    NotYet(
        post("push of no store", "/api/push", {"model": UNKNOWN}, stream=True),
        b'{"status":"retrieving manifest"}',
    ),
    NotYet(get("GET of signout", "/api/signout", 405), b"405 method not allowed"),
    NotYet(get("blob that is absent", f"/api/blobs/{DIGEST}", 404, method="HEAD")),
    NotYet(
        post("blob of another digest", f"/api/blobs/{DIGEST}", BLOB, 400),
        b"digest mismatch, expected",
    ),
    NotYet(
        post("blob of a bad digest", "/api/blobs/sha256:abc", BLOB, 400), b"invalid digest format"
    ),
    NotYet(post("push without a name", "/api/push", {}, 400), b"model is required"),
    NotYet(get("status", "/api/status"), b'{"cloud":{"disabled":'),
    NotYet(post("me", "/api/me", b""), b"null"),
    NotYet(get("preflight", "/api/chat", 204, method="OPTIONS", headers=(
        *LOCAL, ("Access-Control-Request-Method", "POST")))),
    NotYet(get("OPTIONS by a name", "/api/chat", 204, method="OPTIONS",
               headers=(("Host", "localhost"),))),
    NotYet(get("a local Origin is granted", "/api/version", headers=LOCAL), b'{"version":'),
    NotYet(get("a local Origin is granted on errors", "/nothing", 404, headers=LOCAL)),
    *(NotYet(row) for row in only("real",
        post("transcription of nothing", "/v1/audio/transcriptions", b"", 400),
        get("GET of a transcription", "/v1/audio/transcriptions", 405),
        get("GET of a key", "/api/user/keys/a", 405),
        post("web search", "/api/experimental/web_search", {"query": "x"}, 403),
        post("web fetch", "/api/experimental/web_fetch", {"url": "http://x"}, 403))),
)  # fmt: skip
