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
_LOCAL = "local"
_CLOUD = "cloud"

_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}")
_NAMESPACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}")
RELOADING = "fleet-reload"  # the namespace of names that weights have for a moment, to be unloaded
_PASSING = re.compile(r"[^/]+:[0-9]+/[0-9a-f]{64}/[^/]+")  # HOST:PORT/<token>/<model>:<tag>
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}")


class Source(Enum):
    """Where a reference asks to be run, by its suffix."""

    ANY = ""
    LOCAL = _LOCAL
    CLOUD = _CLOUD


@dataclass(frozen=True, slots=True)
class ModelName:
    """A complete model reference, every part in lower case: equal names mean the same model.

    A cloud model's tag is that of the stub which Ollama stores for it (`x:cloud`, `x:120b-cloud`),
    so that it is never taken for the local model. `scheme` is empty unless the reference carried
    one (`http://…`), which Ollama takes as leave to speak plain HTTP to that registry; it takes any
    word for one (`ftp://…`), and connects.
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
        if source is not Source.ANY and _split_source(rest)[1] is not Source.ANY:
            raise _invalid(text)
        scheme, mark, after = rest.partition("://")
        host, namespace, model, tag = _parts(after if mark else rest)
        if source is Source.CLOUD:
            tag = _CLOUD if tag is None else f"{tag}-{_CLOUD}"
        name = cls(
            host=(DEFAULT_HOST if host is None else host).lower(),
            namespace=(DEFAULT_NAMESPACE if namespace is None else namespace).lower(),
            model=model.lower(),
            tag=(DEFAULT_TAG if tag is None else tag).lower(),
            source=source,
            scheme=scheme.lower() if mark else "",
        )
        if not name.is_valid():
            raise _invalid(text)
        return name

    def is_valid(self) -> bool:
        """Every part within Ollama's grammar and length."""
        return (
            _HOST.fullmatch(self.host) is not None
            and _NAMESPACE.fullmatch(self.namespace) is not None
            and _PART.fullmatch(self.model) is not None
            and _PART.fullmatch(self.tag) is not None
        )

    @property
    def key(self) -> str:
        """The form to compare and index by; two references with one key are one stored model."""
        return f"{self.host}/{self.namespace}/{self.model}:{self.tag}"

    def __str__(self) -> str:
        """As Ollama shows it: default host and namespace dropped, the tag always there."""
        return shown_name(self.host, self.namespace, self.model, self.tag)


def shown_name(host: str, namespace: str, model: str, tag: str) -> str:
    """A name as Ollama shows it, in the case of its parts."""
    if host.lower() != DEFAULT_HOST:
        return f"{host}/{namespace}/{model}:{tag}"
    if namespace != DEFAULT_NAMESPACE:
        return f"{namespace}/{model}:{tag}"
    return f"{model}:{tag}"


def manifest_path(shown: str) -> str:
    """Where Ollama keeps the manifest of a model that it lists by that name, below its manifests.

    The case of a file is the case of the name. Raises ValueError for what is no name.
    """
    ModelName.parse(shown)
    host, namespace, model, tag = _parts(shown.strip())
    return "/".join(
        (host or DEFAULT_HOST, namespace or DEFAULT_NAMESPACE, model, tag or DEFAULT_TAG)
    )


def is_cloud(key: str) -> bool:
    """Whether the model of a key runs in Ollama's cloud, wherever it is asked for."""
    return key.endswith((f":{_CLOUD}", f"-{_CLOUD}"))


def is_passing(key: str) -> bool:
    """Whether a key is of a name that a fleet offers a model under, for one pull of an instance.

    Or of one that replaced weights have while they are unloaded. It is nobody's model: whoever made
    it takes it away.
    """
    if key.startswith(DEFAULT_HOST):
        return key.startswith(f"{DEFAULT_HOST}/{RELOADING}/")
    return _PASSING.fullmatch(key) is not None


def canonical(text: str) -> str:
    """The comparison key of a reference; an invalid one is its own key, in lower case."""
    return _canonical(text) if len(text) <= _LONGEST else text.strip().lower()


_LONGEST = 1024  # characters; no valid reference is longer, and the cache keeps what it is asked


@lru_cache(8192)  # a list of models is read every two seconds: all of it should be kept
def _canonical(text: str) -> str:
    try:
        return ModelName.parse(text).key
    except ValueError:
        return text.strip().lower()


def _split_source(text: str) -> tuple[str, Source]:
    head, colon, suffix = text.rpartition(":")
    suffix = suffix.strip()
    lowered = suffix.lower()
    if colon and lowered in (_LOCAL, _CLOUD):
        return head, Source(lowered)
    if colon and "/" not in suffix and lowered.endswith(f"-{_CLOUD}"):
        return f"{head}:{suffix[: -len(_CLOUD) - 1]}", Source.CLOUD
    return text, Source.ANY


def _parts(reference: str) -> tuple[str | None, str | None, str, str | None]:
    """Host, namespace, model and tag as they are written; None for what is left out."""
    path, slash, last = reference.rpartition("/")
    model, colon, tag = last.partition(":")
    host, second, namespace = path.rpartition("/")
    return (
        (host or None) if second else None,
        namespace if slash else None,
        model,
        tag if colon else None,
    )


def _invalid(text: str) -> ValueError:
    return ValueError(f"{text!r} is not a model name such as llama3.2, qwen3:8b or hf.co/you/it")
