"""The part of the control API that tells what a model takes of memory.

GET /v1/footprints?name=M    {"footprints": [...]}: for each instance of ours that has it on disk
                             what is computed and what was measured
"""

import asyncio
from collections.abc import Callable, Iterable

from aiohttp import web

from ollama_fleet.api.admin import wire
from ollama_fleet.control.footprints import Footprint
from ollama_fleet.control.targets import model_key
from ollama_fleet.errors import FleetError

Footprints = Callable[[str], Iterable[Footprint]]


class FootprintCommands:
    """Answers that; `footprints` gives those of a model by its key: to go through them blocks."""

    def __init__(self, footprints: Footprints) -> None:
        self._footprints = footprints

    def routes(self) -> tuple[web.RouteDef, ...]:
        """The route of this part."""
        return (web.get("/v1/footprints", self._tell),)

    async def _tell(self, request: web.Request) -> web.StreamResponse:
        try:
            key = model_key(request.query.get("name", ""))
        except FleetError as error:
            return wire.refused(error)
        found = await asyncio.to_thread(list, self._footprints(key))
        return wire.document({"footprints": found})
