"""What is told of a job: by its request before it is served, by its answer afterwards. Pure."""

from dataclasses import dataclass

from ollama_fleet.names import canonical
from ollama_fleet.replay.job import Job
from ollama_fleet.replay.stream import Stream
from ollama_fleet.router.dialect import Dialect
from ollama_fleet.router.intake import Request
from ollama_fleet.router.intake.opening import BLOCK_BYTES, OPENING_BYTES
from ollama_fleet.state import Completed

BYTES_PER_TOKEN = 4
"""Of the text of a prompt: about what English comes to."""


@dataclass(frozen=True, slots=True)
class Telling:
    """What is said of a request: by its answer's last record, and, to who sees the future, before.

    Ollama's own API tells the `durations` of prefill and decode, the others do not.
    """

    durations: bool = True
    lengths: bool = False


def completed(job: Job, stream: Stream, at_s: float, telling: Telling) -> Completed:
    """What the last record of an answer says, and how many records the relay counted."""
    reports = telling.durations
    decode_s = at_s - stream.first_s
    return Completed(
        200,
        len(stream.prompt),
        stream.output_tokens,
        prefill_s=stream.first_s - stream.started_s if reports else 0.0,
        decode_s=decode_s if reports else 0.0,
        records=stream.output_tokens + 1 if job.stream else 1,
    )


def request_of(job: Job, telling: Telling) -> Request:
    """What the router reads of a job before it is served."""
    key = canonical(job.model)
    text_bytes = job.prompt_tokens * BYTES_PER_TOKEN
    blocks = min(text_bytes, OPENING_BYTES) // BLOCK_BYTES
    return Request(
        method="POST",
        path="/api/chat",
        dialect=Dialect.OLLAMA,
        model=job.model,
        key=key,
        slot=key,
        stream=job.stream,
        client=job.tenant,
        tenant=job.tenant,
        prompt_bytes=text_bytes,
        output_cap=job.output_tokens if telling.lengths else 0,
        prefix=tuple([hash((job.text, block)) for block in range(blocks)]),
    )
