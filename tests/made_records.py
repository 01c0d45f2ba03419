"""Records of requests that never were."""

from dataclasses import dataclass

from ollama_fleet.history import Ending, RequestRecord

KEY = "registry.ollama.ai/library/qwen3:8b"


def made(**changes) -> RequestRecord:
    """A streamed chat that went well at the first try, but for these fields."""
    usual = {
        "id": "r1",
        "arrived_s": 1_000.0,
        "client": "127.0.0.1",
        "method": "POST",
        "route": "/api/chat",
        "dialect": "ollama",
        "model": "Qwen3:8b",
        "key": KEY,
        "stream": True,
        "inference": True,
        "strategy": "least_conn",
        "instance": "gpu0",
        "attempts": 1,
        "tried": ("gpu0",),
        "failures": (),
        "ending": Ending.COMPLETED,
        "status": 200,
        "error": "",
        "queue_s": 0.5,
        "load_s": 0.0,
        "first_byte_s": 0.75,
        "total_s": 4.75,
        "prompt_tokens": 300,
        "output_tokens": 20,
        "records": 21,
        "request_bytes": 1_500,
        "answer_bytes": 4_000,
        "reported_load_s": 0.03,
        "reported_prefill_s": 0.25,
        "reported_decode_s": 4.0,
        "terms": ("in_flight",),
        "scores": (("gpu0", (1.0, 1.0)), ("gpu1", (2.0, 2.0))),
    }
    return RequestRecord(**{**usual, **changes})


@dataclass
class Clock:
    """A clock that stands until it is told."""

    now_s: float = 1_000.0

    def __call__(self) -> float:
        return self.now_s
