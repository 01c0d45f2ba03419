"""Facts as frozen records: phases, models on disk and in memory, residencies, outcomes, pulls."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import msgspec


class Phase(StrEnum):
    """The life of an instance's process; written by the supervisor."""

    STOPPED = "stopped"
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPING = "stopping"
    BACKOFF = "backoff"
    FAILED = "failed"


class Health(StrEnum):
    """What the last probes found; written by the prober."""

    UNKNOWN = "unknown"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


Profile = tuple[tuple[str, int | float | bool | str], ...]
"""Runner options that differ from the defaults, by name: num_ctx, num_gpu, ...

A request's has what the client wrote. A residency's has the Modelfile's options under it, and
the digests of the adapters and projectors that the runner is started with.
"""


class Residency(msgspec.Struct, frozen=True):  # compared and hashed at every arrival
    """What is in an instance's memory: weights (a blob's digest) under an options profile.

    Another profile of the same weights is another runner: Ollama reloads the model for it.
    """

    weights: str
    profile: Profile = ()


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A model in an instance's store: `key` to compare by, `row` as /api/tags lists it.

    `blob` is the digest of its weights, "" until that is known; `profile` is what its Modelfile
    asks of the runner.
    """

    key: str
    name: str
    digest: str
    size_bytes: int
    row: Mapping[str, Any]
    blob: str = ""
    profile: Profile = ()

    @property
    def weights(self) -> str:
        """What its residency is known by: two names over one blob are one."""
        return self.blob or self.digest or self.key

    @property
    def remote(self) -> bool:
        """It is a stub: Ollama has another server run it, and nothing of it comes into memory."""
        return bool(self.row.get("remote_host"))

    @property
    def lone(self) -> bool:
        """Ollama generates with it for one request at a time."""
        return self._family in _LONE

    @property
    def embeds(self) -> bool:
        """It can only embed. It runs for one request at a time, too, but for a moment only."""
        can = self.row.get("capabilities")
        return self._family in _EMBEDDERS or (isinstance(can, list) and "completion" not in can)

    @property
    def _family(self) -> str:
        details = self.row.get("details")
        return str(details.get("family", "")) if isinstance(details, dict) else ""


_LONE: Final = frozenset(
    (
        "mllama",
        "qwen3vl",
        "qwen3vlmoe",
        "qwen35",
        "qwen35moe",
        "qwen3next",
        "lfm2",
        "lfm2moe",
        "nemotron_h",
        "nemotron_h_moe",
        "nemotron_h_omni",
    )
)
"""Families that Ollama's scheduler runs for one request at a time, whatever OLLAMA_NUM_PARALLEL is.

As of 0.20.0 and 0.32.15; no answer of its API says so.
"""

_EMBEDDERS: Final = frozenset(("bert", "nomic-bert", "nomic-bert-moe"))
"""Families that can only embed; the listings of older versions do not say what a model can do."""


class KeepAlive(StrEnum):
    """What a request says of how long its model stays when nobody uses it any more."""

    UNSAID = "unsaid"  # as long as was said last
    STAYS = "stays"
    GOES = "goes"  # at once


@dataclass(frozen=True, slots=True)
class ResidentModel:
    """A model in an instance's memory: `row` as /api/ps lists it.

    `expires_s` is when it will go, in Unix time by the instance's clock, if nobody uses it.
    """

    key: str
    name: str
    size_bytes: int
    vram_bytes: int
    expires_at: str
    row: Mapping[str, Any]
    expires_s: float = math.inf

    @property
    def digest(self) -> str:
        """The digest of the manifest that it was loaded by, in hex; "" where that is not said."""
        return bare(self.row.get("digest"))

    @property
    def context_length(self) -> int:
        """Tokens that one slot of it takes; 0 where the instance does not say."""
        length = self.row.get("context_length")
        return length if isinstance(length, int) else 0


def bare(digest: object) -> str:
    """A digest without the name of its kind, which not all versions of Ollama write."""
    return digest.removeprefix("sha256:") if isinstance(digest, str) else ""


class Work(msgspec.Struct, frozen=True, gc=False):  # one per request
    """What a request asks for, as far as is known before it is answered.

    `output_cap` is the most tokens it wants, 0 if it sets no limit; `prefix` are rolling hashes of
    the leading blocks of its prompt; `stream`: its answer is seen as it comes; `keep_alive`: what
    becomes of its model.
    """

    route: str = ""
    prompt_bytes: int = 0
    output_cap: int = 0
    prefix: tuple[int, ...] = ()
    stream: bool = False
    keep_alive: KeepAlive = KeepAlive.UNSAID


class Completed(msgspec.Struct, frozen=True, gc=False):  # one per answer
    """An attempt that ran to its end: the answer's status and what it said of itself (0: nothing).

    Tokens of the prompt and of the output; seconds of load, prefill and decode.
    `whole` says that the answer came to its own end; `records` is how many were seen to pass.
    """

    status: int
    prompt_tokens: int = 0
    output_tokens: int = 0
    load_s: float = 0.0
    prefill_s: float = 0.0
    decode_s: float = 0.0
    records: int = 0
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Pull:
    """A running pull: bytes over all layers seen so far, and its last status line."""

    model: str
    instance: str
    status: str
    completed_bytes: int
    total_bytes: int
