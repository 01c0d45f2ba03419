"""/api/embed, /api/embeddings and /v1/embeddings. The vectors depend on model and text only."""

import base64
import hashlib
import math
import struct
from typing import Any

from ollama_fleet.sim.ollama.api import schemas
from ollama_fleet.sim.ollama.api.errors import V1_JSON
from ollama_fleet.sim.ollama.api.native import figures
from ollama_fleet.sim.ollama.api.plan import TOO_LONG, Ask, embed_plan
from ollama_fleet.sim.ollama.api.service import ApiError, Service
from ollama_fleet.sim.ollama.api.stream import finished, start
from ollama_fleet.sim.ollama.engine import Run
from ollama_fleet.sim.ollama.golang.json import encode
from ollama_fleet.sim.ollama.text import tokenise
from ollama_fleet.sim.ollama.wire.exchange import JSON, Exchange

NOT_FOUND = 'model "{}" not found, try pulling it first'


async def embed(exchange: Exchange, service: Service) -> None:
    """POST /api/embed."""
    fields = await schemas.read(exchange, schemas.EMBED)
    texts = _texts(fields)
    truncate = fields.get("truncate", True)
    run, vectors = await _embed(exchange, service, fields, texts, truncate=truncate)
    answer: dict[str, Any] = {"model": fields["model"], "embeddings": vectors}
    if texts:
        answer |= {k: v for k, v in figures(run).items() if k not in _NOT_FOR_EMBED}
    exchange.send(200, encode(answer), JSON)


async def embeddings(exchange: Exchange, service: Service) -> None:
    """POST /api/embeddings, the older of the two: one text, and names only as they are stored."""
    fields = await schemas.read(exchange, schemas.EMBEDDINGS)
    asked = fields.get("model", "")
    if not asked:
        raise ApiError(400, "model is required")
    if asked != asked.lower():
        raise ApiError(404, NOT_FOUND.format(asked))
    texts = [fields["prompt"]] if fields.get("prompt") else []
    _, vectors = await _embed(exchange, service, fields, texts, truncate=True)
    # This one is not normalised in Ollama.
    scaled = [[x * 7.5 for x in vector] for vector in vectors]
    exchange.send(200, encode({"embedding": scaled[0] if scaled else []}), JSON)


async def v1_embeddings(exchange: Exchange, service: Service) -> None:
    """POST /v1/embeddings."""
    fields = await schemas.read(exchange, schemas.V1_EMBED, empty="EOF")
    form = fields.get("encoding_format", "")
    if form.lower() not in {"", "float", "base64"}:
        raise ApiError(400, _FORMS.format(form), early=True)
    if not fields.get("input"):
        raise ApiError(400, "invalid input", early=True)
    run, vectors = await _embed(exchange, service, fields, _texts(fields), truncate=True)
    packed = form.lower() == "base64"
    tokens = len(run.job.prompt)
    answer = {
        "object": "list",
        "data": [
            {"object": "embedding", "embedding": _packed(v) if packed else v, "index": i}
            for i, v in enumerate(vectors)
        ],
        "model": fields["model"],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    exchange.send(200, encode(answer) + b"\n", V1_JSON)


_FORMS = "Invalid value for 'encoding_format' = {}. Supported values: ['float', 'base64']."
_NOT_FOR_EMBED = {"prompt_eval_duration", "eval_count", "eval_duration"}


def _texts(fields: dict[str, Any]) -> list[str]:
    given = fields.get("input")
    if given is None or given == "":
        return []
    if isinstance(given, str):
        return [given]
    if isinstance(given, list) and all(isinstance(text, str) for text in given):
        return given
    raise ApiError(400, "invalid input type")


async def _embed(
    exchange: Exchange,
    service: Service,
    fields: dict[str, Any],
    texts: list[str],
    *,
    truncate: bool,
) -> tuple[Run, list[list[float]]]:
    ask = Ask(
        model=fields.get("model", ""),
        text=None,
        does="embed",
        options=fields.get("options", {}),
        keep_alive=fields.get("keep_alive"),
        not_found=NOT_FOUND,
    )
    planned, width = embed_plan(service, ask, [tokenise(text) for text in texts])
    width = min(fields.get("dimensions") or width, width)
    with start(exchange, service, planned) as run:
        await finished(run)
    # Only the runner knows, so the model has been loaded by then.
    if not truncate and any(len(tokenise(text)) > planned.job.options.num_ctx for text in texts):
        raise ApiError(400, TOO_LONG)
    return run, [vector(planned.job.weights.digest, text, width) for text in texts]


def vector(digest: str, text: str, width: int) -> list[float]:
    """A vector of length 1, the same for the same weights and text."""
    seed = hashlib.blake2b(text.encode(errors="replace"), key=digest[-32:].encode())
    raw = hashlib.shake_128(seed.digest()).digest(2 * width)
    values = [(x - 32767.5) / 32768 for x in struct.unpack(f"<{width}H", raw)]
    length = math.sqrt(sum(x * x for x in values)) or 1.0
    return [round(x / length, 9) for x in values]


def _packed(values: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
