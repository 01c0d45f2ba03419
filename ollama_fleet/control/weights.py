"""Which weights a stored model runs, and what its Modelfile asks of the runner.

Both follow from its manifest, so they are found out once for each manifest digest: from the store
where that is on this machine (stores.py), else from the instance's own description of the model.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any, Final

from ollama_fleet.state import Profile, StoredModel
from ollama_fleet.state.profiles import RUNNER_OPTIONS

_LAYER: Final = "application/vnd.ollama.image."
_KEPT: Final = 4096  # manifests that are remembered; more than any fleet has models
_HEAD: Final = ("#", "FROM ", "ADAPTER ")  # what a Modelfile begins with; then texts may follow
_BLOB: Final = re.compile(r"sha256[-:]([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class Weights:
    """What a manifest says: the blob that is run, and under which profile.

    `blob` is its digest, "" for a model that has no such layer and is known by its manifest.
    `profile` holds the Modelfile's runner options, and the adapters and projectors it names.
    """

    blob: str = ""
    profile: Profile = ()


UNKNOWN: Final = Weights()


class KnownWeights:
    """The weights of models by the digests of their manifests."""

    def __init__(self) -> None:
        self._known: dict[str, Weights] = {}

    def learn(self, found: Mapping[str, Weights]) -> None:
        """Remember what was found, by manifest digest; the oldest is forgotten."""
        self._known.update(found)
        for digest in list(self._known)[:-_KEPT]:
            del self._known[digest]

    def missing(self, models: Iterable[StoredModel]) -> tuple[StoredModel, ...]:
        """The models whose weights have to be found out."""
        return tuple(m for m in models if m.digest and not m.remote and m.digest not in self._known)

    def applied(self, models: Iterable[StoredModel]) -> tuple[StoredModel, ...]:
        """The models with their weights, as far as they are known."""
        return tuple(self._applied(model) for model in models)

    def _applied(self, model: StoredModel) -> StoredModel:
        known = self._known.get(model.digest)
        return replace(model, blob=known.blob, profile=known.profile) if known else model


def params_digest(manifest: Mapping[str, Any]) -> str:
    """The digest of the blob that holds a manifest's parameters; "" if it has none."""
    return next((digest for kind, digest in _layers(manifest) if kind == "params"), "")


def of_manifest(manifest: Mapping[str, Any], params: Mapping[str, Any]) -> Weights:
    """What a manifest and its parameters say. Raises ValueError, TypeError or KeyError."""
    layers: dict[str, list[str]] = {}
    for kind, digest in _layers(manifest):
        layers.setdefault(kind, []).append(digest)
    blob = layers.get("model", [""])[-1]  # Ollama, too, takes the last
    profile = _profile(params, layers.get("adapter", []), layers.get("projector", []))
    return Weights(blob, profile)


def of_description(answer: Mapping[str, Any]) -> Weights:
    """What an answer of /api/show says; it names blobs by their files."""
    lines = str(answer.get("modelfile", "")).splitlines()
    head = list(takewhile(lambda line: line.startswith(_HEAD) or not line, lines))
    models = _named(head, "FROM ")
    blob = models[0] if models else ""
    return Weights(blob, _profile(_params(answer), _named(head, "ADAPTER "), models[1:]))


def _layers(manifest: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for layer in manifest["layers"]:
        kind, digest = str(layer["mediaType"]), str(layer["digest"])
        if kind.startswith(_LAYER) and _BLOB.fullmatch(digest):
            yield kind.removeprefix(_LAYER), digest


def _named(lines: Iterable[str], command: str) -> list[str]:
    found = (_BLOB.search(line) for line in lines if line.startswith(command))
    return [f"sha256:{blob[1]}" for blob in found if blob]


def _params(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The runner's options among the lines of `parameters`: a name, blanks, a JSON value."""
    found: dict[str, Any] = {}
    for line in str(answer.get("parameters", "")).splitlines():
        name, _, text = line.partition(" ")
        if name in RUNNER_OPTIONS:
            found[name] = json.loads(text)
    return found


def _profile(params: Mapping[str, Any], adapters: list[str], projectors: list[str]) -> Profile:
    options: dict[str, int | float | bool | str] = {
        name: value
        for name, value in params.items()
        if name in RUNNER_OPTIONS and isinstance(value, int | float)
    }
    if adapters:
        options["adapters"] = ",".join(adapters)
    if projectors:
        options["projectors"] = ",".join(projectors)
    return tuple(sorted(options.items()))
