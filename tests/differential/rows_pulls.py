"""Pulls from a registry in which something goes wrong, and how each of them ends.

`{weights}` in a fault's path is the digest of the model's weights.
"""

from dataclasses import dataclass, field
from typing import Any

MODEL = "library/pulled:1b"
SIZE_BYTES = 8_000_000
HALF = {"after_bytes": SIZE_BYTES // 2, "times": 1}
MANIFEST, BLOB, BYTES = "/manifests/", "/blobs/{weights}", "/bytes/{weights}"


@dataclass(frozen=True, slots=True)
class Pull:
    """One pull. `fault` has the fields of the stand-in's faults; `says` is a part of its error.

    `fetched_bytes` is what goes over the link for the weights.
    """

    name: str
    fault: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    model: str = MODEL
    insecure: bool = True
    says: str = ""
    fetched_bytes: int | None = None


def _status(place: str, path: str, status: int, says: str, body: str = "") -> Pull:
    fault = {"kind": "status", "path": path, "status": status, "body": body}
    return Pull(f"{place} is answered {status}", fault, says=says)


_OF_MANIFEST = "pull model manifest: "
ENDING = (
    Pull("all is well", fetched_bytes=SIZE_BYTES),
    Pull("a token is asked for", settings={"auth": True}, fetched_bytes=SIZE_BYTES),
    Pull("the link is cut in mid-blob", {"kind": "cut", "path": BYTES, **HALF},
         fetched_bytes=SIZE_BYTES),
    Pull("the link is reset in mid-blob", {"kind": "reset", "path": BYTES, **HALF},
         fetched_bytes=SIZE_BYTES + SIZE_BYTES // 2),
    Pull("the bytes are others", {"kind": "wrong", "path": BYTES},
         says="digest mismatch, file must be downloaded again: want sha256:"),
)  # fmt: skip
STALLED = Pull("the link stalls in mid-blob", {"kind": "stall", "path": BYTES, **HALF},
               fetched_bytes=SIZE_BYTES)  # fmt: skip
"""For half a minute, after which a real Ollama asks again: too long for every run of the tests."""
REFUSED = (
    Pull("there is no such model", model="library/nothing:1b",
         says=f"{_OF_MANIFEST}file does not exist"),
    _status("the manifest", MANIFEST, 404, f"{_OF_MANIFEST}file does not exist"),
    _status("the manifest", MANIFEST, 401, f"{_OF_MANIFEST}unauthorized: access denied"),
    _status("the manifest", MANIFEST, 429, f"{_OF_MANIFEST}429: slow down", "slow down"),
    _status("the manifest", MANIFEST, 500, f"{_OF_MANIFEST}500: oh", "oh"),
    _status("the blob", BLOB, 404, "file does not exist"),
    _status("the blob", BLOB, 401, "unauthorized: access denied"),
    _status("the blob", BLOB, 429, "429: "),
    _status("the blob", BLOB, 500, "500: "),
    Pull("the registry hangs up", {"kind": "refused", "path": MANIFEST}, says=": EOF"),
    Pull("the token is not given", {"kind": "status", "path": "/token", "status": 403},
         {"auth": True}, says=f"{_OF_MANIFEST}403"),
    Pull("the registry speaks no TLS", insecure=False,
         says="http: server gave HTTP response to HTTPS client"),
    Pull("the bytes are where the registry is", settings={"redirect": "here"},
         says="http: no Location header in response"),
    Pull("the bytes come without a redirect", settings={"redirect": "none"},
         says="http: no Location header in response"),
)  # fmt: skip
STRANGE = {
    b"": "unexpected end of JSON input",
    b'{"layers":[': "unexpected end of JSON input",
    b"<html>": "invalid character '<' looking for beginning of value",
    b"[]": "cannot unmarshal array into Go value of type manifest.Manifest",
    b'{"layers":3}': "cannot unmarshal number into Go struct field Manifest.layers",
    b'{"layers":[{"digest":""}]}': "library/strange: digest is empty",
    b'{"layers":[{"digest":"sha256:../../../../../x"}]}': "invalid digest format",
    b'{"config":{"digest":"../../x"}}': "invalid digest format",
    b'{"layers":null}': "",
}
"""Bytes for a manifest, and a part of what is said of it; nothing where a model is made of it."""
