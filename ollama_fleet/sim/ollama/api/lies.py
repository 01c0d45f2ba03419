"""What a lying server tells of its models: the fault `lies`."""

from collections.abc import Callable, Sequence
from typing import Any

from ollama_fleet.sim.ollama.api.service import Service
from ollama_fleet.sim.ollama.golang.json import encode
from ollama_fleet.sim.ollama.wire.exchange import JSON, Exchange

Row = dict[str, Any]

_MANY = 10_000
_ROW: Row = {
    "name": "nobody:has-this",
    "model": "nobody:has-this",
    "digest": "0" * 64,
    "details": {},
}
_WRONG = _ROW | {"size": -1, "size_vram": -(2**63), "expires_at": "0001-01-01T00:00:00Z"}
_ABSURD: Row = {"name": 7, "model": None, "digest": [], "size": "much", "size_vram": 1e300}


def _everything(service: Service) -> bytes:
    """All that is stored is in memory."""
    stored = service.store.all()
    return encode({"models": [_ROW | {"name": str(s.name), "model": str(s.name)} for s in stored]})


def _huge(_service: Service) -> bytes:
    names = [f"m{number}:latest" for number in range(_MANY)]
    return encode({"models": [_ROW | {"name": name, "model": name} for name in names]})


_LIES: Sequence[Callable[[Service], bytes]] = (
    lambda _: b'{"models": [{"name": "cut',
    _everything,
    lambda _: encode({"models": [_WRONG, _ABSURD]}),
    lambda _: encode({"models": "none"}),
    _huge,
    lambda _: encode({"models": []}),
)


def tell(exchange: Exchange, service: Service, turn: int) -> None:
    """Answer /api/ps or /api/tags; what is said changes with every turn."""
    exchange.send(200, _LIES[turn % len(_LIES)](service), JSON)
