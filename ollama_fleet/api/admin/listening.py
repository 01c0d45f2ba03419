"""Where the control API listens: on a Unix socket for its owner, or behind a door with a key."""

import hmac
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from ollama_fleet.system import door

_SECRET_BYTES: Final = 32


@asynccontextmanager
async def listening(path: Path, routes: Sequence[web.RouteDef]) -> AsyncIterator[None]:
    """Serve the routes there to this user alone. Raises OSError."""
    secret = "" if door.has_unix_sockets() else secrets.token_urlsafe(_SECRET_BYTES)
    app = web.Application(middlewares=[_guarded(secret)] if secret else ())
    app.add_routes(routes)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
    _clear(path)
    await runner.setup()
    try:
        if secret:
            await web.TCPSite(runner, door.LOOPBACK, 0).start()
            door.put_up(path, door.Door(runner.addresses[0][1], secret))
        else:
            await web.UnixSite(runner, str(path)).start()
            _make_private(path)
        yield
    finally:
        await runner.cleanup()
        _clear(path)


def _clear(path: Path) -> None:
    path.unlink(missing_ok=True)


def _make_private(path: Path) -> None:
    path.chmod(0o600)


def _guarded(secret: str) -> Middleware:
    """Turns away whoever does not bring the secret; nothing is told but that."""
    expected = door.Door(0, secret).headers["Authorization"].encode()

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        brought = request.headers.get("Authorization", "").encode(errors="surrogateescape")
        if not hmac.compare_digest(brought, expected):
            return web.json_response({"error": "this is not your fleet"}, status=401)
        return await handler(request)

    return guard
