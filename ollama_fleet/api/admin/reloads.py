"""The part of the control API that has fleet.yaml read again.

POST /v1/reload {"dry_run": false}    `removed`, `restarted`, `added` and `altered` name instances,
                              `keys` what says something else in fleet.yaml. Answers when it is done
"""

from collections.abc import Awaitable
from typing import Protocol

import msgspec
from aiohttp import web

from ollama_fleet.api.admin import wire
from ollama_fleet.errors import FleetError


class Reload(Protocol):
    """Takes what fleet.yaml says now; what that came to, as a record that JSON can have."""

    def __call__(self, *, dry_run: bool) -> Awaitable[object]:
        """Take it, or only say what that would come to. Raises FleetError."""
        ...


class _Wanted(msgspec.Struct):
    dry_run: bool = False


class ReloadCommands:
    """Reloads."""

    def __init__(self, reload: Reload) -> None:
        self._reload = reload

    def routes(self) -> tuple[web.RouteDef, ...]:
        """The routes of this part."""
        return (web.post("/v1/reload", self._answer),)

    async def _answer(self, request: web.Request) -> web.Response:
        wanted = await wire.read(request, _Wanted)
        try:
            return wire.document(await self._reload(dry_run=wanted.dry_run))
        except FleetError as error:
            return wire.refused(error)
