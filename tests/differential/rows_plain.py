"""Rows about paths, methods, heads and framing: whatever is decided before a body is looked at."""

from request_table import CHAT, EMBED, SAID, SHORT, UNKNOWN, get, one_after_another, only, post

GENERATE = {"model": CHAT, "prompt": "hello there", "stream": False, "options": SHORT}
STREAMED = GENERATE | {"stream": True}

LISTS = (
    get("root", "/"),
    get("root HEAD", "/", method="HEAD"),
    get("root with a query", "/?x=1"),
    get("version", "/api/version"),
    get("version HEAD", "/api/version", method="HEAD"),
    get("tags", "/api/tags"),
    get("tags HEAD", "/api/tags", method="HEAD"),
    get("tags signed by the command line", "/api/tags?ts=1795228531"),
    get("tags with a body", "/api/tags", headers=(("Content-Length", "0"),)),
    get("v1 models", "/v1/models"),
    get("v1 model", f"/v1/models/{CHAT}"),
    get("v1 model with tag", f"/v1/models/{CHAT}:latest"),
    get("v1 model in capitals", f"/v1/models/{CHAT.upper()}"),
    get("v1 model with its colon escaped", f"/v1/models/{CHAT}%3Alatest"),
    get("v1 model of no store", f"/v1/models/{UNKNOWN}", 404),
    get("v1 model of a namespace", "/v1/models/ns/tiny", 404),
    get("v1 model of an escaped namespace", "/v1/models/ns%2Ftiny", 404),
    get("v1 model of a bad name", "/v1/models/a%20b", 400),
    get("v1 model of escaped dots", "/v1/models/%2e%2e", 400),
    get("v1 model with a query", f"/v1/models/{CHAT}?x=1"),
    get("v1 model that holds a percent sign", "/v1/models/a%2525b", 400),
    # A real one writes a model's parameters in another order each time.
    *only("real", post("show", "/api/show", {"model": CHAT}, deterministic=False)),
    *only("sim", post("show to the byte", "/api/show", {"model": CHAT})),
    post("show by its old field", "/api/show", {"name": CHAT}, deterministic=False),
    post("show of an embedding model", "/api/show", {"model": EMBED}, deterministic=False),
    post("show in capitals", "/api/show", {"model": "Tiny:LATEST"}, deterministic=False),
    post("show verbose", "/api/show", {"model": CHAT, "verbose": True}, deterministic=False),
)

PATHS = (
    get("doubled slash", "//api/tags", 307),
    get("doubled slash inside", "/api//tags", 307),
    get("doubled slash HEAD", "//api/tags", 307, method="HEAD"),
    get("dot segment", "/api/./tags", 307),
    get("dot dot segment", "/api/../api/tags", 307),
    get("dot dot above the root", "/../api/tags", 307),
    get("unclean with a query", "//api/tags?ts=1&x=%20", 307),
    get("unclean and unknown", "//nothing", 307),
    get("unclean with an escape", "//a%20b", 307),
    post("unclean POST", "//api/generate", GENERATE, 307),
    get("trailing slash", "/api/tags/", 301),
    get("trailing slash with a query", "/api/tags/?x=1", 301),
    get("trailing slash HEAD", "/api/tags/", 307, method="HEAD"),
    post("trailing slash POST", "/api/generate/", GENERATE, 307),
    get("trailing slash of a wrong method", "/api/generate/", 404),
    get("trailing slash after v1 models", "/v1/models/", 301),
    get("trailing slash after a v1 model", f"/v1/models/{CHAT}/", 301),
    get("trailing slash of nothing", "/nothing/", 404),
    get("escaped letters", "/api/t%61gs"),
    get("escaped slash", "/api%2Ftags"),
    get("escaped dots", "/api/%2e%2e/api/tags", 404),
    get("escape that is none", "/api/%zz", 400),
    get("path of bytes that are not UTF-8", "/api/%ff", 404),
    get("raw bytes in a path", "/api/\xff", 404),
    get("raw UTF-8 in a path", "/api/\xc3\xa9", 404),
    get("zero byte in a path", "/api/%00", 404),
    get("unknown path", "/nothing", 404),
    get("unknown path HEAD", "/nothing", 404, method="HEAD"),
    post("unknown path POST", "/api/nothing", {"model": CHAT}, 404),
    get("metrics, which Ollama has not", "/metrics", 404),
    get("health, which Ollama has not", "/health", 404),
    get("debug pages", "/debug/pprof/", 404),
    get("path in capitals", "/API/TAGS", 404),
    post("count_tokens, which Ollama has not", "/v1/messages/count_tokens", {"model": CHAT}, 404),
    get("absolute form", "http://127.0.0.1/api/version", headers=(("Host", "127.0.0.1"),)),
)  # fmt: skip

METHODS = (
    get("GET where only POST is", "/api/generate", 405),
    get("HEAD where only POST is", "/api/chat", 405, method="HEAD"),
    post("POST where only GET is", "/api/tags", {}, 405),
    post("POST at the root", "/", {}, 405),
    post("POST to ps", "/api/ps", {}, 405),
    get("HEAD of ps", "/api/ps", 405, method="HEAD"),
    get("HEAD of v1 models", "/v1/models", 405, method="HEAD"),
    get("DELETE of a v1 model", f"/v1/models/{CHAT}", 405, method="DELETE"),
    get("PUT", "/api/chat", 405, method="PUT"),
    get("PATCH", "/api/version", 405, method="PATCH"),
    get("DELETE of the root", "/", 405, method="DELETE"),
    get("GET of a pull", "/api/pull", 405),
    get("GET of v1 chat", "/v1/chat/completions", 405),
    get("GET of v1 messages", "/v1/messages", 405),
    get("OPTIONS without an Origin", "/api/chat", 405, method="OPTIONS"),
    get("a method of nobody", "/api/tags", 405, method="BREW"),
    get("a method in small letters", "/api/tags", 405, method="get"),
)

HEADS = (
    get("foreign Host", "/api/tags", 403, headers=(("Host", "evil.example"),)),
    get("public address as Host", "/api/tags", 403, headers=(("Host", "8.8.8.8"),)),
    get("Host localhost", "/api/tags", headers=(("Host", "localhost:1234"),)),
    get("Host of a local domain", "/api/tags", headers=(("Host", "box.local"),)),
    get("private address as Host", "/api/tags", headers=(("Host", "192.168.1.5"),)),
    get("IPv6 loopback as Host", "/api/tags", headers=(("Host", "[::1]:11434"),)),
    get("foreign Host on an unknown path", "/nothing", 403, headers=(("Host", "evil.example"),)),
    get("foreign Origin", "/api/tags", 403, headers=(("Origin", "https://evil.example"),)),
    get("no Host", "/api/tags", 400, headers=(("Host", ""),)),
    get("HTTP/1.0 without Host", "/api/version", version="HTTP/1.0", headers=(("Host", ""),)),
    post("compression is not asked for in vain", "/api/generate", GENERATE,
         headers=(("Accept-Encoding", "gzip, br"),)),
    post("a form's content type", "/api/generate", GENERATE,
         headers=(("Content-Type", "application/x-www-form-urlencoded"),)),
    post("a compressed body", "/api/generate", b"\x1f\x8b\x08\x00junk", 400,
         headers=(("Content-Encoding", "gzip"),)),
    post("Authorization is ignored", "/api/generate", GENERATE,
         headers=(("Authorization", "Bearer nobody"),)),
    post("unknown headers are ignored", "/api/generate", GENERATE,
         headers=(("X-Anything", "at all"), ("Cookie", "a=b"))),
)  # fmt: skip


def _chunked(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (*pieces, b""))


_CHUNKED = (("Transfer-Encoding", "chunked"),)
_SPLIT = _chunked(b'{"model": "ti', b'ny", "prompt": "hi", "stream": false', b', "options": {',
                  b'"num_predict": 2, "seed": 7, "temperature": 0}}')  # fmt: skip
_WRONG = _chunked(b'{"model": "tiny",', b'"stream": 0}')

FRAMING = (
    post("chunked request", "/api/generate", _SPLIT, headers=_CHUNKED),
    post("chunked request of a wrong type", "/api/generate", _WRONG, 400,
         headers=_CHUNKED),
    post("Expect: 100-continue", "/api/generate", GENERATE, headers=(("Expect", "100-continue"),)),
    post("HTTP/1.0", "/api/generate", GENERATE, version="HTTP/1.0"),
    post("HTTP/1.0 stream", "/api/generate", STREAMED, version="HTTP/1.0", stream=True),
    post("HTTP/1.0 SSE", "/v1/chat/completions", {"model": CHAT, "messages": SAID, "max_tokens": 3,
         "seed": 7, "temperature": 0, "stream": True}, version="HTTP/1.0", stream=True),
    one_after_another("keep-alive: two answers with a length",
                      (get("", "/api/version"), get("", "/api/version"))),
    one_after_another("keep-alive: a stream, then a list",
                      (post("", "/api/generate", STREAMED), get("", "/api/tags"))),
    one_after_another("keep-alive: an error, then an answer",
                      (post("", "/api/generate", b"{", 400), post("", "/api/generate", GENERATE))),
    one_after_another("keep-alive: 404 with a body, then an answer",
                      (post("", "/api/nothing", {"a": 1}), get("", "/"))),
    one_after_another("keep-alive: 405 with a body, then an answer",
                      (post("", "/api/tags", {"a": 1}), get("", "/"))),
    one_after_another("keep-alive: HEAD, then GET",
                      (get("", "/api/tags", method="HEAD"), get("", "/api/tags"))),
    one_after_another("keep-alive: a redirect, then an answer",
                      (get("", "//api/tags"), get("", "/api/version"))),
    one_after_another("keep-alive: three streams",
                      [post("", "/api/generate", STREAMED)] * 3, stream=True),
)  # fmt: skip
