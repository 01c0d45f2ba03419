"""What whoever watches a running fleet is told, and where: put together with its sources."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from aiohttp import web

from ollama_fleet.api.auth import Gate
from ollama_fleet.api.connection import Crowd, Front
from ollama_fleet.api.disks import Disks
from ollama_fleet.api.guests import Door, Origins
from ollama_fleet.api.watching import Watching
from ollama_fleet.config import Address, Config
from ollama_fleet.errors import CannotListen
from ollama_fleet.fleet.certificate import Certificate
from ollama_fleet.fleet.front import own_addresses
from ollama_fleet.fleet.limiting import make_bounds
from ollama_fleet.fleet.recording import Recording
from ollama_fleet.metrics import Disk, Metrics, Page
from ollama_fleet.state import FleetSnapshot, State

_LOOK_S: Final = 0.5  # between two looks at how late the loop comes
_DRAIN_S: Final = 1.0
_SCRAPERS: Final = 1 / 16  # of as many connections as clients may have

log = logging.getLogger(__name__)


@asynccontextmanager
async def watched(
    config: Config,
    state: State,
    recording: Recording,
    snapshot: Callable[[], FleetSnapshot],
    clock: Callable[[], float],
    *,
    gate: Gate,
    crowd: Crowd,
    certificate: Certificate | None = None,
) -> AsyncIterator[tuple[web.RouteDef, ...]]:
    """Count what happens, and listen where the configuration says so, while the block runs.

    The `gate` and the `crowd` are the front's; with a `certificate` it speaks TLS there, as that
    does. The routes are those for the control API. Raises CannotListen.
    """
    metrics = recording.metrics

    def page(accept: str, disks: Sequence[Disk]) -> Page:
        assert metrics is not None
        left_s = certificate.left_s() if certificate is not None else None
        return metrics.page(snapshot(), accept, disks, crowd.open, left_s)

    disks = Disks(config.stores)
    watching = Watching(state, page if metrics is not None else None, disks.read, clock)
    async with AsyncExitStack() as stack:
        if metrics is not None:
            await stack.enter_async_context(_counting(state, metrics, clock))
        if config.metrics.listen is not None:
            address = config.metrics.listen
            hostnames = frozenset((socket.gethostname().lower(),))
            door = Door(Origins(), hostnames if address.is_loopback else None, own_addresses)
            front = Front(
                watching.guarded(door, gate),
                address.host,
                address.port,
                bounds=make_bounds(config.limits),
                drain_s=_DRAIN_S,
                crowd=crowd.part(_SCRAPERS),
                refused=recording.refused,
                tls=certificate.context if certificate is not None else None,
            )
            await stack.enter_async_context(_listening(front, address))
        yield watching.routes()


@asynccontextmanager
async def _counting(
    state: State, metrics: Metrics, clock: Callable[[], float]
) -> AsyncIterator[None]:
    """Count events, and how late the loop comes."""
    looking = asyncio.create_task(_look(metrics, clock), name="loop lag")
    state.events.on_event.append(metrics.happened)
    try:
        yield
    finally:
        state.events.on_event.remove(metrics.happened)
        looking.cancel()


async def _look(metrics: Metrics, clock: Callable[[], float]) -> None:
    while True:
        due_s = clock() + _LOOK_S
        await asyncio.sleep(_LOOK_S)
        metrics.lagged(max(0.0, clock() - due_s))


@asynccontextmanager
async def _listening(front: Front, address: Address) -> AsyncIterator[None]:
    """Answer on an address of its own, whose guests are judged as those of the front are."""
    try:
        await front.__aenter__()
    except OSError as error:
        raise CannotListen(
            f"cannot listen on {address} for scrapes: {error.strerror or error}",
            "`metrics.listen` must be an address of this machine and a port that is free",
        ) from None
    try:
        log.info("metrics", extra={"listen": str(Address(address.host, front.port))})
        yield
    finally:
        await front.__aexit__()
