"""From a request in any dialect to a job: which model, which options, what it will say."""

import json
import random
import string
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from ollama_fleet.sim.ollama.api.references import resolve
from ollama_fleet.sim.ollama.api.service import ApiError, Service
from ollama_fleet.sim.ollama.calls import Tool, arguments, calling, named
from ollama_fleet.sim.ollama.environment import Settings
from ollama_fleet.sim.ollama.golang.json import encode, quoted
from ollama_fleet.sim.ollama.golang.time import keep_alive
from ollama_fleet.sim.ollama.jobs import Job
from ollama_fleet.sim.ollama.residency import RunnerOptions, Weights
from ollama_fleet.sim.ollama.store import MODEL, PARAMS, Stored
from ollama_fleet.sim.ollama.text import EMPTY_OBJECT, Answer, Call, answer, tokenise

GIB = 1 << 30
TOO_LONG = "the input length exceeds the context length"
MAX_CONTEXTS = 10  # an answer without a limit ends at so many times num_ctx

_OPTION_TYPES = {
    **dict.fromkeys(
        (
            "num_ctx",
            "num_batch",
            "num_gpu",
            "main_gpu",
            "num_thread",
            "num_keep",
            "seed",
            "num_predict",
            "top_k",
            "repeat_last_n",
        ),
        "integer",
    ),
    **dict.fromkeys(
        (
            "top_p",
            "min_p",
            "typical_p",
            "temperature",
            "repeat_penalty",
            "presence_penalty",
            "frequency_penalty",
        ),
        "float32",
    ),
    "use_mmap": "boolean",
    "stop": "array",
}


@dataclass(frozen=True, slots=True)
class Ask:
    """A request as every dialect can state it. `text` None only loads the model.

    `asked` is the message of the user with which a conversation ends, if it ends with one.
    """

    model: str
    text: str | None
    does: str  # what the model must be able to do, in the words of the error: generate, chat
    options: Mapping[str, Any] = field(default_factory=dict)
    keep_alive: Any = None
    tools: tuple[Tool, ...] = ()
    asked: str = ""
    think: bool = False
    suffix: bool = False
    format: Any = None  # "json", or the schema of the answer
    truncate: bool = True  # a prompt that does not fit loses its head, or is refused
    context: tuple[int, ...] = ()
    stream: bool = False
    not_found: str = "model '{}' not found"


@dataclass(frozen=True, slots=True)
class Plan:
    """A job that may be submitted; `context` are its prompt's token numbers in front."""

    ask: Ask
    job: Job


def find(service: Service, ask: Ask) -> Stored:
    """The model that is asked for. Raises ApiError."""
    stored = service.store.find(resolve(service, ask.model))
    if stored is None:
        raise ApiError(404, ask.not_found.format(ask.model))
    return stored


def keep_alive_s(value: Any) -> float | None:
    """Seconds, None if the request says nothing. Raises ApiError 400."""
    try:
        return None if value is None else keep_alive(value)
    except ValueError as error:
        raise ApiError(400, str(error), early=True) from None


def plan(service: Service, ask: Ask, stored: Stored) -> Plan:
    """Check what was asked and make it a job. Raises ApiError."""
    _check_abilities(ask, stored)
    _check_format(ask)
    params = service.store.content(stored.layer(PARAMS))
    options = _checked(json.loads(params) if params else {}) | _checked(ask.options)
    runner = runner_options(service.settings, stored, options)
    prompt: list[str] = []
    reply: Answer | None = None
    if ask.text is not None:
        prompt = prompt_tokens(ask)
        if len(prompt) > runner.num_ctx and not ask.truncate:
            raise ApiError(400, TOO_LONG, streamed=ask.stream)
        prompt = prompt[-runner.num_ctx :]
        reply = _reply(service.settings, stored, ask, options, runner.num_ctx)
    job = Job(
        id=service.engine.next_id(),
        name=str(stored.name),
        weights=weights(stored),
        options=runner,
        prompt=prompt,
        answer=reply,
        keep_alive_s=keep_alive_s(ask.keep_alive),
    )
    service.note(job.weights.digest, stored)
    return Plan(ask, job)


def prompt_tokens(ask: Ask) -> list[str]:
    """All tokens of a prompt, also those that will not fit."""
    return [f"<{n}>" for n in ask.context] + (tokenise(ask.text or "") or [" "])


def embed_plan(service: Service, ask: Ask, texts: list[list[str]]) -> tuple[Plan, int]:
    """A job that evaluates texts and answers with vectors of the width that comes with it."""
    stored = find(service, ask)
    runner = runner_options(service.settings, stored, _checked(ask.options))
    job = Job(
        id=service.engine.next_id(),
        name=str(stored.name),
        weights=weights(stored),
        options=runner,
        prompt=[token for text in texts for token in text[: runner.num_ctx] or [" "]],
        keep_alive_s=keep_alive_s(ask.keep_alive),
    )
    service.note(job.weights.digest, stored)
    return Plan(ask, job), int(stored.simulated.get("embedding_length", 64))


def weights(stored: Stored) -> Weights:
    """A stored model as the scheduler sees it."""
    layer = stored.layer(MODEL)
    assert layer is not None
    return Weights(
        digest=layer["digest"],
        size_bytes=layer["size"],
        embedding=stored.embedding,
        speed=float(stored.simulated.get("speed", 1.0)),
    )


def runner_options(settings: Settings, stored: Stored, options: Mapping[str, Any]) -> RunnerOptions:
    """The options that make a runner; the context is bounded by what the model was trained for."""
    known = {f.name for f in fields(RunnerOptions)}
    chosen = {key: value for key, value in options.items() if key in known}
    wanted = chosen.get("num_ctx") or settings.context_length or _context_for(settings.memory_bytes)
    trained = int(stored.simulated.get("context_length", wanted))
    return RunnerOptions(**chosen | {"num_ctx": max(min(wanted, trained), 4)})


def _context_for(memory_bytes: int) -> int:
    if memory_bytes >= 47 * GIB:
        return 262_144
    return 32_768 if memory_bytes >= 23 * GIB else 4096


def _reply(
    settings: Settings, stored: Stored, ask: Ask, options: Mapping[str, Any], num_ctx: int
) -> Answer:
    limit = min(options.get("num_predict", 0), MAX_CONTEXTS * num_ctx)
    if called := named(ask.tools, ask.asked):
        return calling([_call(i, tool) for i, tool in enumerate(called)], limit=limit)
    if ask.format:
        return EMPTY_OBJECT
    outputs = settings.profile.outputs
    layer = stored.layer(MODEL)
    assert layer is not None
    return answer(
        f"{settings.seed}/{options.get('seed', 0)}/{layer['digest'][:16]}",
        ask.text or "",
        limit=limit,
        median_tokens=outputs.median_tokens,
        sigma=outputs.sigma,
        max_tokens=min(outputs.max_tokens, MAX_CONTEXTS * num_ctx),
    )


def _call(index: int, tool: Tool) -> Call:
    letters = random.choices(string.ascii_lowercase + string.digits, k=8)  # noqa: S311  # as Ollama
    return Call(f"call_{''.join(letters)}", index, tool.name, arguments(tool.parameters))


def _check_abilities(ask: Ask, stored: Stored) -> None:
    able = stored.capabilities
    if "completion" not in able:
        raise ApiError(400, f'"{ask.model}" does not support {ask.does}')
    if ask.suffix and "insert" not in able:
        raise ApiError(400, f"{stored.name.key} does not support insert")
    if ask.tools and "tools" not in able:
        raise ApiError(400, f"{stored.name.key} does not support tools")
    if ask.think and "thinking" not in able:
        raise ApiError(400, f'"{ask.model}" does not support thinking')


def _check_format(ask: Ask) -> None:
    """The runner's own check, so that a stream has begun when it fails."""
    if ask.format and ask.format != "json" and not isinstance(ask.format, dict):
        shown = quoted(encode(ask.format).decode())
        problem = f'invalid format: {shown}; expected "json" or a valid JSON Schema object'
        raise ApiError(500, problem, streamed=ask.stream)


def _checked(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options with the types Ollama wants. Raises ApiError 500, as Ollama does for these."""
    checked: dict[str, Any] = {}
    for key, value in options.items():
        wanted = _OPTION_TYPES.get(key)
        if wanted is None or value is None:
            continue
        if not _fits(value, wanted):
            raise ApiError(500, f'option "{key}" must be of type {wanted}')
        if wanted == "array" and not all(isinstance(item, str) for item in value):
            raise ApiError(500, f'option "{key}" must be of an array of strings')
        checked[key] = int(value) if wanted == "integer" else value
    return checked


def _fits(value: Any, wanted: str) -> bool:
    if wanted == "boolean":
        return isinstance(value, bool)
    if wanted == "array":
        return isinstance(value, list)
    return isinstance(value, int | float) and not isinstance(value, bool)
