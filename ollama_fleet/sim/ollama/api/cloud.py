"""What needs an account at ollama.com: a simulation has none, and no way there."""

from ollama_fleet.sim.ollama.api.references import unreachable
from ollama_fleet.sim.ollama.api.service import ApiError, Service
from ollama_fleet.sim.ollama.golang.json import encode
from ollama_fleet.sim.ollama.wire.exchange import JSON, Exchange


async def status(exchange: Exchange, service: Service) -> None:
    """GET /api/status."""
    cloud = service.settings.cloud
    state = {"disabled": not cloud, "source": "none" if cloud else "env"}
    exchange.send(200, encode({"cloud": state}), JSON)


async def me(exchange: Exchange, _service: Service) -> None:
    """POST /api/me: nobody is signed in."""
    exchange.send(200, b"null", JSON)


async def signout(_exchange: Exchange, _service: Service) -> None:
    """POST /api/signout, and its older form: there is no account to leave."""
    raise ApiError(500, "there was an error signing out")


async def web_search(exchange: Exchange, service: Service) -> None:
    """POST /api/experimental/web_search."""
    await _ask(exchange, service, "web search is unavailable")


async def web_fetch(exchange: Exchange, service: Service) -> None:
    """POST /api/experimental/web_fetch."""
    await _ask(exchange, service, "web fetch is unavailable")


async def _ask(exchange: Exchange, service: Service, without_cloud: str) -> None:
    if not (await exchange.read()).strip():
        raise ApiError(400, "missing request body")
    raise unreachable(service, without_cloud)
