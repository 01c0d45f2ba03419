"""Rows about what changes a store, and about the account and the clouds behind a server."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any

from request_table import CHAT, EMBED, UNKNOWN, Row, get, one_after_another, only, post

BLOB = b"some bytes"
DIGEST = "sha256:" + "e4c8ab2e" * 8  # of nothing that is stored
TRUE_DIGEST = f"sha256:{hashlib.sha256(BLOB).hexdigest()}"
ABSENT = "no-such-model-xyz"
LONG = f"{'h' * 240}.example/{'n' * 80}/{'m' * 80}:{'t' * 80}"
NOT_FOUND = b'{"error":"model \'nope\' not found"}'


def _copy(name: str, source: str = CHAT) -> Row:
    return post("", "/api/copy", {"source": source, "destination": name})


def _delete(name: str) -> Row:
    return post("", "/api/delete", {"model": name}, method="DELETE")


def _create(body: dict[str, Any]) -> Row:
    return post("", "/api/create", {"model": "made", **body})


CHANGES = (
    one_after_another("copy, then delete", (_copy("copied"), _delete("copied"))),
    one_after_another("copy, list, delete, list", (
        _copy("copied"), get("", "/v1/models"), get("", "/v1/models/copied"), _delete("copied"),
        get("", "/v1/models"), get("", "/v1/models/copied")), 404, deterministic=False),
    one_after_another("a list of more than 2 KiB",
                      (_copy(LONG), get("", "/api/tags"), _delete(LONG)), deterministic=False),
    one_after_another("HEAD of a list of more than 2 KiB",
                      (_copy(LONG), get("", "/api/tags", method="HEAD"), _delete(LONG))),
    one_after_another("a list of more than 2 KiB over HTTP/1.0",
                      (_copy(LONG), get("", "/api/tags", version="HTTP/1.0")),
                      deterministic=False),
    one_after_another("a name as long as may be", (_copy(LONG), _delete(LONG))),
    one_after_another("copy in capitals, then delete", (_copy("Copied"), _delete("COPIED"))),
    one_after_another("copy onto itself",
                      (_copy("copied"), _copy("copied", "copied"), _delete("copied"))),
    one_after_another("delete by its old field",
                      (_copy("copied"),
                       post("", "/api/delete", {"name": "copied"}, method="DELETE"))),
    one_after_another("copy with bytes behind its JSON", (
        post("", "/api/copy", b'{"source":"tiny","destination":"copied"} and more'),
        _delete("copied"))),
    one_after_another("delete twice", (_copy("copied"), _delete("copied"), _delete("copied")), 404,
                      says=b"model 'copied' not found"),
    one_after_another("create from another, then delete",
                      (_create({"from": CHAT}), _delete("made"))),
    one_after_another("create from another, then ask for it",
                      (_create({"from": CHAT, "stream": False}), get("", "/v1/models/made"),
                       _delete("made"))),
    one_after_another("create with a system prompt, then delete",
                      (_create({"from": CHAT, "system": "Be brief."}), _delete("made"))),
    one_after_another("create with parameters, then show",
                      (_create({"from": CHAT, "parameters": {"num_predict": 3, "seed": 7}}),
                       post("", "/api/show", {"model": "made"}), _delete("made")),
                      deterministic=False),
)  # fmt: skip


def _unreadable(path: str, method: str, struct: str, field: str) -> Iterator[Row]:
    def row(name: str, body: bytes, says: str) -> Row:
        return post(f"{name}: {path}", path, body, 400, method=method,
                    says=json.dumps({"error": says}, separators=(",", ":")).encode())  # fmt: skip

    yield row("empty body", b"", "missing request body")
    yield row("blanks only", b" \n", "missing request body")
    yield row("cut JSON", b"{", "unexpected EOF")
    yield row("no JSON", b"hello", "invalid character 'h' looking for beginning of value")
    array = f"json: cannot unmarshal array into Go value of type api.{struct}"
    yield row("an array", b"[1]", array)
    number = f"json: cannot unmarshal number into Go struct field {struct}.{field} of type string"
    yield row(f"{field} of a wrong type", json.dumps({field: 5}).encode(), number)


def _refused(name: str, path: str, body: Any, says: str = "", *, status: int = 400,
             method: str = "POST", **more: Any) -> Row:  # fmt: skip
    return post(name, path, body, status, method=method, says=says.encode(), **more)


_MISSING = "no such file or directory"
_BOTH = r"use either :local or :cloud, not both: \"tiny:cloud:local\""

REFUSED_CHANGES = (
    *_unreadable("/api/copy", "POST", "CopyRequest", "source"),
    *_unreadable("/api/delete", "DELETE", "DeleteRequest", "model"),
    *_unreadable("/api/create", "POST", "CreateRequest", "model"),
    *_unreadable("/api/push", "POST", "PushRequest", "model"),
    *_unreadable("/api/pull", "POST", "PullRequest", "model"),
    _refused("copy of no store", "/api/copy", {"source": UNKNOWN, "destination": "x"},
             r'{"error":"model \"nope\" not found"}', status=404),
    _refused("copy of nothing", "/api/copy", {}, r'source \"\" is invalid'),
    _refused("copy of a bad name", "/api/copy", {"source": "a b", "destination": "x"},
             r'source \"a b\" is invalid'),
    _refused("copy to nothing", "/api/copy", {"source": CHAT}, r'destination \"\" is invalid'),
    _refused("copy to a bad name", "/api/copy", {"source": CHAT, "destination": "a b"},
             r'destination \"a b\" is invalid'),
    _refused("delete of no store", "/api/delete", {"model": UNKNOWN}, NOT_FOUND.decode(),
             status=404, method="DELETE"),
    _refused("delete of nothing", "/api/delete", {}, "model is required", method="DELETE"),
    _refused("delete of null", "/api/delete", b"null", "model is required", method="DELETE"),
    _refused("delete of a bad name", "/api/delete", {"model": "a b"}, r'name \"a b\" is invalid',
             method="DELETE"),
    _refused("delete of here and there", "/api/delete", {"model": "tiny:cloud:local"}, _BOTH,
             method="DELETE"),
    _refused("delete of a cloud model", "/api/delete", {"model": "tiny:cloud"},
             "model 'tiny:cloud' not found", status=404, method="DELETE"),
    _refused("pull of here and there", "/api/pull", {"model": "tiny:cloud:local"}, _BOTH),
    _refused("create of nothing", "/api/create", {}, "invalid model name"),
    _refused("create of a bad name", "/api/create", {"model": "a b", "from": CHAT},
             "invalid model name"),
    _refused("create from nothing", "/api/create", {"model": "made"},
             "neither 'from' or 'files' was specified"),
    _refused("create from nothing, whole", "/api/create", {"model": "made", "stream": False},
             "neither 'from' or 'files' was specified"),
    _refused("create from a bad name", "/api/create", {"model": "made", "from": "a b"},
             "invalid model name"),
    _refused("create with a stream flag of a wrong type", "/api/create",
             {"model": "made", "stream": "no"}, "of type bool"),
    _refused("create from a file elsewhere", "/api/create",
             {"model": "made", "files": {"../a": DIGEST}}, "file path must be relative"),
    _refused("create from a file without a digest", "/api/create",
             {"model": "made", "files": {"a.gguf": ""}}, "invalid digest format"),
    _refused("create from no files", "/api/create", {"model": "made", "files": {}},
             "unknown type"),
    _refused("create with an adapter without a digest", "/api/create",
             {"model": "made", "from": CHAT, "adapters": {"a": ""}}, "invalid digest format"),
    _refused("create from a blob of a bad digest", "/api/create",
             {"model": "made", "files": {"a.gguf": "sha256:x"}}, "invalid digest format",
             status=200, stream=True),
    _refused("create from a blob that is absent", "/api/create",
             {"model": "made", "files": {"a.gguf": DIGEST}}, _MISSING, status=200, stream=True),
    _refused("create from a blob that is absent, whole", "/api/create",
             {"model": "made", "files": {"a.gguf": DIGEST}, "stream": False}, _MISSING,
             status=500),
    _refused("push of no store", "/api/push", {"model": UNKNOWN}, _MISSING, status=200,
             stream=True),
    _refused("push of no store, whole", "/api/push", {"model": UNKNOWN, "stream": False},
             _MISSING, status=500),
    _refused("push of a bad name", "/api/push", {"model": "a b"}, "unqualified name",
             status=200, stream=True),
    _refused("push without a name", "/api/push", {}, "model is required"),
    _refused("push with a stream flag of a wrong type", "/api/push",
             {"model": UNKNOWN, "stream": 1}, "of type bool"),
    *(get(f"GET of {name}", f"/api/{name}", 405) for name in ("copy", "delete", "create", "push")),
    post("POST of delete", "/api/delete", {"model": UNKNOWN}, 405),
    get("HEAD of create", "/api/create", 405, method="HEAD"),
)  # fmt: skip

BLOBS = (
    # A real pair shares its store: there the second one finds it stored.
    *only("sim",
          one_after_another("blob: asked for, sent, sent again, asked for", (
              get("", f"/api/blobs/{TRUE_DIGEST}", method="HEAD"),
              post("", f"/api/blobs/{TRUE_DIGEST}", BLOB),
              post("", f"/api/blobs/{TRUE_DIGEST}", BLOB),
              get("", f"/api/blobs/{TRUE_DIGEST}", method="HEAD"),
              get("", "/api/version")))),
    get("blob that is absent", f"/api/blobs/{DIGEST}", 404, method="HEAD"),
    get("blob that is absent, by a dash", f"/api/blobs/{DIGEST.replace(':', '-')}", 404,
        method="HEAD"),
    get("blob with its colon escaped", f"/api/blobs/{DIGEST.replace(':', '%3A')}", 404,
        method="HEAD"),
    post("blob of another digest", f"/api/blobs/{DIGEST}", BLOB, 400,
         says=b"digest mismatch, expected"),
    post("blob of no bytes", f"/api/blobs/{DIGEST}", b"", 400, says=b"digest mismatch, expected"),
    post("blob of a bad digest", "/api/blobs/sha256:abc", BLOB, 400, says=b"invalid digest format"),
    get("HEAD of a bad digest", "/api/blobs/sha256:abc", 400, method="HEAD"),
    get("HEAD of a digest in capitals", f"/api/blobs/{DIGEST.upper()}", 400, method="HEAD"),
    get("HEAD of a digest with a line break", f"/api/blobs/{DIGEST}%0a", 400, method="HEAD"),
    get("HEAD of a way up", "/api/blobs/%2e%2e", 400, method="HEAD"),
    get("GET of a blob", f"/api/blobs/{DIGEST}", 405),
    get("DELETE of a blob", f"/api/blobs/{DIGEST}", 405, method="DELETE"),
    get("blobs without a digest", "/api/blobs/", 404, method="HEAD"),
    get("blobs", "/api/blobs", 404, method="HEAD"),
    get("blob with a slash too much", f"/api/blobs/{DIGEST}/", 307, method="HEAD"),
)  # fmt: skip

ACCOUNT = (
    get("status", "/api/status", says=b'{"cloud":{"disabled":'),
    get("HEAD of status", "/api/status", 405, method="HEAD"),
    post("me", "/api/me", b"", says=b"null"),
    get("GET of me", "/api/me", 405),
    post("signout", "/api/signout", b"", 500, says=b"there was an error signing out"),
    get("GET of signout", "/api/signout", 405),
    get("DELETE of a key", "/api/user/keys/abc", 500, method="DELETE"),
    get("GET of a key", "/api/user/keys/abc", 405),
    get("DELETE of no key", "/api/user/keys/", 404, method="DELETE"),
    post("web search", "/api/experimental/web_search", {"query": "x"}, 403,
         says=b"ollama cloud is disabled: web search is unavailable"),
    post("web search of nothing", "/api/experimental/web_search", b" ", 400,
         says=b"missing request body"),
    post("web fetch", "/api/experimental/web_fetch", {"url": "http://x"}, 403,
         says=b"ollama cloud is disabled: web fetch is unavailable"),
    get("GET of web fetch", "/api/experimental/web_fetch", 405),
    *(post(f"{source} model: {path}", path, body | {"model": name}, status)
      for path, body in {
          "/api/generate": {"prompt": "hi"},
          "/api/chat": {"messages": [{"role": "user", "content": "hi"}]},
          "/api/embed": {"input": "hi"},
          "/api/show": {},
          "/v1/chat/completions": {"messages": [{"role": "user", "content": "hi"}]},
          "/v1/messages": {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 3},
      }.items()
      for source, name, status in (("cloud", "tiny:cloud", 403),
                                   ("cloud tag", "tiny:8b-cloud", 403),
                                   ("contradictory", "tiny:cloud:local", 400))),
    get("cloud model: /v1/models", "/v1/models/tiny:cloud", 403),
    post("local model", "/api/show", {"model": f"{CHAT}:local"}, deterministic=False),
    post("local model with its tag", "/api/generate",
         {"model": f"{CHAT}:latest:local", "prompt": "hi", "stream": False,
          "options": {"num_predict": 2, "seed": 7, "temperature": 0}}),
)  # fmt: skip

_PART = b'--b\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n%s\r\n'
_FORM = (("Content-Type", "multipart/form-data; boundary=b"),)


def _form(*parts: tuple[bytes, bytes, bytes]) -> bytes:
    return b"".join(_PART % part for part in parts) + b"--b--\r\n"


_MODEL = (b"model", b"", CHAT.encode())
_FILE = (b"file", b'; filename="a.wav"', b"RIFF....WAVE")
_TRANSCRIBE = "/v1/audio/transcriptions"

FORMS = (
    post("transcription of nothing", _TRANSCRIBE, b"", 400),
    post("transcription of JSON", _TRANSCRIBE, {"model": CHAT}, 400),
    post("transcription without a model", _TRANSCRIBE, _form(_FILE), 400, headers=_FORM),
    post("transcription without a file", _TRANSCRIBE, _form(_MODEL), 400, headers=_FORM),
    post("transcription of an empty file", _TRANSCRIBE, _form(_MODEL, (*_FILE[:2], b"")), 400,
         headers=_FORM),
    post("transcription by a model of no store", _TRANSCRIBE,
         _form(_FILE, (b"model", b"", UNKNOWN.encode())), 404, headers=_FORM),
    post("transcription", _TRANSCRIBE, _form(_FILE, _MODEL), headers=_FORM, stream=True,
         deterministic=False),
    post("transcription as text", _TRANSCRIBE,
         _form(_FILE, _MODEL, (b"response_format", b"", b"text")), headers=_FORM, stream=True,
         deterministic=False),
    post("transcription by an embedding model", _TRANSCRIBE,
         _form(_FILE, (b"model", b"", EMBED.encode())), 400, headers=_FORM),
    post("transcription of a cut form", _TRANSCRIBE, _form(_MODEL, _FILE)[:-20], 400,
         headers=_FORM),
    get("GET of a transcription", _TRANSCRIBE, 405),
)  # fmt: skip

# What needs the registry: why it cannot be reached is told with ports that differ each time.
REGISTRY = only("real",
    post("push of what is there", "/api/push", {"model": CHAT}, stream=True, deterministic=False),
    post("push of what is there, whole", "/api/push", {"model": CHAT, "stream": False}, 500,
         deterministic=False),
    post("pull of what is nowhere", "/api/pull", {"model": ABSENT}, stream=True,
         deterministic=False),
    post("pull of what is nowhere, whole", "/api/pull", {"model": ABSENT, "stream": False}, 500,
         deterministic=False),
    post("create from what is nowhere", "/api/create", {"model": "made", "from": ABSENT},
         stream=True, deterministic=False),
)  # fmt: skip

# What only some versions have.
VERSIONS = only("real",
    get("recommendations", "/api/experimental/model-recommendations", 404),
    post("POST of recommendations", "/api/experimental/model-recommendations", b"", 404),
    post("images of a model of no store", "/v1/images/generations",
         {"model": UNKNOWN, "prompt": "x"}, 404),
    post("images without a prompt", "/v1/images/generations", {"model": CHAT}, 400),
    post("edits without an image", "/v1/images/edits", {"model": CHAT, "prompt": "x"}, 400),
    get("GET of images", "/v1/images/generations", 405),
    get("HEAD of edits", "/v1/images/edits", 405, method="HEAD"),
)  # fmt: skip
