"""Who may read what: each offer is one model under one token, as long as it is used. Pure."""

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ollama_fleet.api.registry.asked import Asked
from ollama_fleet.control.stores import Layer, Manifest

IDLE_S: Final = 600.0  # Ollama pauses for half a minute at most before it asks again


@dataclass(slots=True, eq=False)
class Offer:
    """A model of a store under a token. `reading` has an end for each answer under way."""

    token: str
    model: Manifest
    store: Path
    used_s: float
    reading: set[Callable[[], None]] = field(default_factory=set)
    revoked: bool = False

    @property
    def name(self) -> str:
        """The name under which it is pulled, without the host: `<token>/<model>:<tag>`."""
        _, _, model, tag = self.model.path.split("/")
        return f"{self.token}/{model}:{tag}"

    def has_manifest(self, asked: Asked) -> bool:
        """Whether that is its manifest. Ollama may know the name in another case than we do."""
        *_, model, tag = self.model.path.lower().split("/")
        return (asked.model.lower(), asked.tag.lower()) == (model, tag)

    def layer(self, digest: str) -> Layer | None:
        """The blob of that digest, if it is one of the model's."""
        return next((layer for layer in self.model.layers if layer.digest == digest), None)


class Offers:
    """The offers in force. Times are seconds of one clock."""

    def __init__(self, new_token: Callable[[], str]) -> None:
        self._new_token = new_token
        self._offers: list[Offer] = []

    def __len__(self) -> int:
        return len(self._offers)

    def issue(self, model: Manifest, store: Path, now_s: float) -> Offer:
        """Offer a model under a new token."""
        offer = Offer(self._new_token(), model, store, now_s)
        self._offers.append(offer)
        return offer

    def revoke(self, offer: Offer) -> None:
        """Let nobody read it any more, nor read on."""
        self._offers.remove(offer)
        offer.revoked = True
        for end in tuple(offer.reading):
            end()

    def find(self, token: str, now_s: float) -> Offer | None:
        """The offer of a token; None if there is none, or if it has not been used for too long.

        All tokens are compared, each in full: the time it takes says nothing of any of them.
        """
        given = token.encode()
        found = None
        for offer in self._offers:
            if hmac.compare_digest(offer.token.encode(), given):
                found = offer
        if found is None or (not found.reading and now_s - found.used_s > IDLE_S):
            return None
        found.used_s = now_s
        return found
