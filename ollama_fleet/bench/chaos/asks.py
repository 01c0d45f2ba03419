"""What the clients ask and how they behave: the same seed, the same requests. Pure."""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

CHAT_MODELS: Final = ("chaos-a:1b", "chaos-b:1b")
EMBEDDING_MODEL: Final = "chaos-embed:1b"
PROMPTS: Final = tuple(f"tell me of storm number {number}" for number in range(6))
MOST_TOKENS: Final = 80
_EMBEDDING_SHARE: Final = 0.1
_STREAM_SHARE: Final = 0.75
_LEAVING_SHARE: Final = 0.1
_SLOW_SHARE: Final = 0.1
_LEAVES_BY_S: Final = 2.0


class Route(Enum):
    """Where a request goes, and so whose dialect it speaks."""

    GENERATE = "/api/generate"
    CHAT = "/api/chat"
    EMBED = "/api/embed"
    V1_CHAT = "/v1/chat/completions"
    V1_COMPLETIONS = "/v1/completions"
    V1_EMBEDDINGS = "/v1/embeddings"
    MESSAGES = "/v1/messages"
    RESPONSES = "/v1/responses"


EMBEDDINGS: Final = (Route.EMBED, Route.V1_EMBEDDINGS)
_GENERATIONS: Final = tuple(route for route in Route if route not in EMBEDDINGS)


class Manner(Enum):
    """How a client behaves: reads to the end, leaves before it, or reads with pauses."""

    STAYS = "stays"
    LEAVES = "leaves"
    SLOW = "slow"


@dataclass(frozen=True, slots=True)
class Ask:
    """One request. `leaves_after_s` counts from its sending, for a client that leaves."""

    number: int
    route: Route
    model: str
    prompt: str
    tokens: int
    stream: bool
    manner: Manner = Manner.STAYS
    leaves_after_s: float = 0.0

    @property
    def id(self) -> str:
        """The id that it brings along, by which the instances' journal names it."""
        return f"chaos-{self.number}"


def asks(seed: int) -> Iterator[Ask]:
    """Requests without end."""
    rng = random.Random(seed)  # noqa: S311 - a reproducible load
    number = 0
    while True:
        number += 1
        embedding = rng.random() < _EMBEDDING_SHARE
        yield Ask(
            number=number,
            route=rng.choice(EMBEDDINGS if embedding else _GENERATIONS),
            model=EMBEDDING_MODEL if embedding else rng.choice(CHAT_MODELS),
            prompt=rng.choice(PROMPTS),
            tokens=rng.randint(5, MOST_TOKENS),
            stream=not embedding and rng.random() < _STREAM_SHARE,
            manner=_manner(rng.random()),
            leaves_after_s=rng.uniform(0.0, _LEAVES_BY_S),
        )


def body(ask: Ask) -> bytes:
    """The request's body."""
    return json.dumps({"model": ask.model, **_fields(ask)}).encode()


def _fields(ask: Ask) -> dict[str, Any]:
    messages = [{"role": "user", "content": ask.prompt}]
    options = {"num_predict": ask.tokens}
    match ask.route:
        case Route.GENERATE:
            return {"prompt": ask.prompt, "options": options, "stream": ask.stream}
        case Route.CHAT:
            return {"messages": messages, "options": options, "stream": ask.stream}
        case Route.V1_COMPLETIONS:
            return {"prompt": ask.prompt, "max_tokens": ask.tokens, "stream": ask.stream}
        case Route.V1_CHAT | Route.MESSAGES:
            return {"messages": messages, "max_tokens": ask.tokens, "stream": ask.stream}
        case Route.RESPONSES:
            return {"input": messages, "max_output_tokens": ask.tokens, "stream": ask.stream}
    return {"input": ask.prompt}


def _manner(drawn: float) -> Manner:
    if drawn < _LEAVING_SHARE:
        return Manner.LEAVES
    return Manner.SLOW if drawn < _LEAVING_SHARE + _SLOW_SHARE else Manner.STAYS
