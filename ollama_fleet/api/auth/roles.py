"""Which routes are for whom. A route that does not stand here is for admins. Pure."""

from typing import Final

from ollama_fleet.api.auth.caller import Role

OPEN: Final = frozenset(("/", "/healthz", "/readyz"))
"""Need no key: that something runs here, its port tells anyway."""

INFERENCE: Final = frozenset(
    (
        "/api/generate",
        "/api/chat",
        "/api/embed",
        "/api/embeddings",
        "/v1/chat/completions",
        "/v1/completions",
        "/v1/embeddings",
        "/v1/responses",
        "/v1/messages",
        "/v1/audio/transcriptions",
        "/v1/images/generations",
        "/v1/images/edits",
    )
)
"""What models are for: counted against a key's budgets."""

_LOOKING: Final = frozenset(
    (
        "/api/version",
        "/api/tags",
        "/api/ps",
        "/api/show",
        "/api/status",
        "/api/experimental/model-recommendations",
        "/v1/models",
        "v1/models/:model",
        "/metrics",
    )
)
_CREATING: Final = frozenset(("/api/create", "api/blobs/:digest"))
_PUSHING: Final = frozenset(("/api/push",))


def least_role(route: str) -> Role:
    """The role that a route needs at least."""
    return Role.USER if route in INFERENCE or route in _LOOKING or route in OPEN else Role.ADMIN


def switch(route: str) -> str:
    """The key of fleet.yaml that turns a route on, "" for one that always is."""
    if route in _CREATING:
        return "auth.create"
    return "auth.push" if route in _PUSHING else ""
