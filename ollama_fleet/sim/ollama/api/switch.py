"""/sim/faults: the script of faults, read and replaced while the program runs."""

from ollama_fleet.sim.ollama import flood
from ollama_fleet.sim.ollama.api.service import ApiError, Service
from ollama_fleet.sim.ollama.faults import FaultKind, parse
from ollama_fleet.sim.ollama.wire.exchange import Exchange

_TEXT = "text/plain; charset=utf-8"


async def show_faults(exchange: Exchange, service: Service) -> None:
    """GET: what is still in force."""
    exchange.send(200, str(service.faults).encode(), _TEXT)


async def set_faults(exchange: Exchange, service: Service) -> None:
    """POST: the body is the new script. Raises ApiError 400."""
    text = (await exchange.read()).decode(errors="replace")
    try:
        service.faults.replace(parse(text))
    except ValueError as error:
        raise ApiError(400, str(error)) from None
    if (fault := service.faults.standing(FaultKind.FLOOD)) is not None:
        flood.begin(fault.seconds)
    exchange.send(200, str(service.faults).encode(), _TEXT)
