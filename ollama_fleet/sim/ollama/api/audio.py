"""/v1/audio/transcriptions: a form with a file, answered by a model that says what comes to it."""

import re

from ollama_fleet.sim.ollama.api.conversation import chat
from ollama_fleet.sim.ollama.api.plan import find, plan
from ollama_fleet.sim.ollama.api.service import ApiError, Service
from ollama_fleet.sim.ollama.api.stream import finished, start
from ollama_fleet.sim.ollama.golang.json import encode
from ollama_fleet.sim.ollama.wire.exchange import NDJSON, Exchange

_BOUNDARY = re.compile(r'multipart/form-data;.*?boundary="?([^";,]+)"?', re.IGNORECASE)
_NAME = re.compile(rb'name="([^"]*)"')
_PROMPT = "Transcribe the following audio exactly as spoken."


async def transcriptions(exchange: Exchange, service: Service) -> None:
    """POST /v1/audio/transcriptions."""
    form = _form(await exchange.read(), exchange.head.headers.get("content-type", ""))
    model = form.get("model", b"").decode(errors="replace")
    if not model:
        raise ApiError(400, "model is required", early=True)
    if "file" not in form:
        raise ApiError(400, "file is required: http: no such file", early=True)
    if not form["file"]:
        raise ApiError(400, "audio file is empty", early=True)
    ask = chat(model, [("user", _PROMPT)])
    planned = plan(service, ask, find(service, ask))
    with start(exchange, service, planned) as run:
        await finished(run)
    assert run.job.answer is not None
    text = run.job.answer.text()
    plain = form.get("response_format") == b"text"
    exchange.start(200, NDJSON)
    exchange.chunk(text.encode() if plain else encode({"text": text}) + b"\n")
    exchange.end()


def _form(body: bytes, content_type: str) -> dict[str, bytes]:
    """The fields of a form by their names. Raises ApiError 400 with Go's text."""
    boundary = _BOUNDARY.match(content_type)
    if boundary is None:
        raise _unread("request Content-Type isn't multipart/form-data")
    mark = b"--" + boundary[1].encode()
    first, *parts = (b"\r\n" + body).split(b"\r\n" + mark)
    if not parts:
        raise _unread("multipart: NextPart: EOF")
    if first or not parts[-1].startswith(b"--"):
        raise _unread("unexpected EOF")
    found: dict[str, bytes] = {}
    for part in parts[:-1]:
        head, _, content = part.partition(b"\r\n\r\n")
        if name := _NAME.search(head):
            found.setdefault(name[1].decode(errors="replace"), content)
    return found


def _unread(why: str) -> ApiError:
    return ApiError(400, f"failed to parse multipart form: {why}", early=True)
