"""The part of the control API that takes out of our stores what no model needs.

POST /v1/prune/plan {"to": [...], "older_s": 3600}    what could go: Pruned as JSON has it. `to` are
                              stores, instances and groups; none means all stores of ours
POST /v1/prune {"remove": {...}, "older_s": 3600}     what has gone, likewise. `remove` are names of
                              files by store, as a plan lists them: nothing else is removed
"""

import msgspec
from aiohttp import web

from ollama_fleet.api.admin import wire
from ollama_fleet.control.library.pruning import Pruning
from ollama_fleet.control.stores.prunable import AGE_S
from ollama_fleet.errors import FleetError


class _Wanted(msgspec.Struct):
    to: list[str] = []
    older_s: float = AGE_S
    remove: dict[str, list[str]] = {}


class PruneCommands:
    """Plans prunings and carries them out."""

    def __init__(self, pruning: Pruning) -> None:
        self._pruning = pruning

    def routes(self) -> tuple[web.RouteDef, ...]:
        """The routes of this part."""
        return (web.post("/v1/prune/plan", self._plan), web.post("/v1/prune", self._prune))

    async def _plan(self, request: web.Request) -> web.StreamResponse:
        wanted = await wire.read(request, _Wanted)
        try:
            return wire.document(await self._pruning.plan(wanted.to, wanted.older_s))
        except FleetError as error:
            return wire.refused(error)

    async def _prune(self, request: web.Request) -> web.StreamResponse:
        wanted = await wire.read(request, _Wanted)
        if not wanted.remove:
            raise web.HTTPBadRequest(text="`remove` names what is to go")
        try:
            return wire.document(await self._pruning.carry_out(wanted.remove, wanted.older_s))
        except FleetError as error:
            return wire.refused(error)
