"""Model names: Ollama's grammar, its defaults, and the one form this program compares.

Follows Ollama's `types/model/name.go` and `internal/modelref`: `[scheme://][host/][namespace/]
model[:tag]`, defaults `registry.ollama.ai/library/…:latest`, look-up without regard to case.
"""

import re
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

DEFAULT_HOST = "registry.ollama.ai"
DEFAULT_NAMESPACE = "library"
DEFAULT_TAG = "latest"

_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}")
_NAMESPACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}")
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}")


class Source(Enum):
    """Where a reference asks to be run, by its suffix."""

    ANY = ""
    LOCAL = "local"
    CLOUD = "cloud"


@dataclass(frozen=True, slots=True)
class ModelName:
    """A complete model reference, every part in lower case: equal names mean the same model.

    `scheme` is empty unless the reference carried one (`http://…`), which Ollama takes as leave
    to speak plain HTTP to that registry.
    """

    host: str
    namespace: str
    model: str
    tag: str
    source: Source = Source.ANY
    scheme: str = ""

    @classmethod
    def parse(cls, text: str) -> "ModelName":
        """Read a reference as a client writes it. Raises ValueError where Ollama refuses it."""
        rest, source = _split_source(text.strip())
        scheme, mark, after = rest.partition("://")
        scheme, rest = (scheme, after) if mark else ("", rest)
        path, slash, last = rest.rpartition("/")
        model, colon, tag = last.partition(":")
        if colon and not tag:
            raise _invalid(text)
        host, _, namespace = path.rpartition("/") if slash else ("", "", "")
        name = cls(
            host=(host or DEFAULT_HOST).lower(),
            namespace=(namespace or DEFAULT_NAMESPACE).lower(),
            model=model.lower(),
            tag=(tag or DEFAULT_TAG).lower(),
            source=source,
            scheme=scheme.lower(),
        )
        if not name.is_valid() or (slash and not namespace):
            raise _invalid(text)
        return name

    def is_valid(self) -> bool:
        """Every part within Ollama's grammar and length."""
        return (
            _HOST.fullmatch(self.host) is not None
            and _NAMESPACE.fullmatch(self.namespace) is not None
            and _PART.fullmatch(self.model) is not None
            and _PART.fullmatch(self.tag) is not None
            and self.scheme in ("", "http", "https")
        )

    @property
    def key(self) -> str:
        """The form to compare and index by; two references with one key are one stored model."""
        return f"{self.host}/{self.namespace}/{self.model}:{self.tag}"

    def __str__(self) -> str:
        """As Ollama shows it: default host and namespace dropped, the tag always there."""
        if self.host != DEFAULT_HOST:
            return self.key
        if self.namespace != DEFAULT_NAMESPACE:
            return f"{self.namespace}/{self.model}:{self.tag}"
        return f"{self.model}:{self.tag}"


def canonical(text: str) -> str:
    """The comparison key of a reference; an invalid one is its own key, in lower case."""
    return _canonical(text) if len(text) <= _LONGEST else text.strip().lower()


_LONGEST = 1024  # characters; no valid reference is longer, and the cache keeps what it is asked


@lru_cache(1024)
def _canonical(text: str) -> str:
    try:
        return ModelName.parse(text).key
    except ValueError:
        return text.strip().lower()


def _split_source(text: str) -> tuple[str, Source]:
    head, colon, suffix = text.rpartition(":")
    if colon and "/" not in suffix:
        lowered = suffix.lower()
        if lowered in ("local", "cloud"):
            return head, Source(lowered)
        if lowered.endswith("-cloud"):
            return f"{head}:{suffix[: -len('-cloud')]}", Source.CLOUD
    return text, Source.ANY


def _invalid(text: str) -> ValueError:
    return ValueError(f"{text!r} is not a model name such as llama3.2, qwen3:8b or hf.co/you/it")
