"""The part of the control API that takes instances out of rotation.

POST /v1/drain {"instances": [...], "reason": "…", "force": false}    nothing new is given to them;
                              `drained` names them. `instances` are names of instances and groups
POST /v1/undrain {"instances": [...]}    requests are given to them again; `undrained` names them
"""

import msgspec
from aiohttp import web

from ollama_fleet.api.admin import wire
from ollama_fleet.control.drains import ASKED, drain, undrain
from ollama_fleet.errors import FleetError
from ollama_fleet.state import State


class _Wanted(msgspec.Struct):
    instances: list[str] = []
    reason: str = ""
    force: bool = False


class DrainCommands:
    """Drains and puts back."""

    def __init__(self, state: State) -> None:
        self._state = state

    def routes(self) -> tuple[web.RouteDef, ...]:
        """The routes of this part."""
        return (web.post("/v1/drain", self._drain), web.post("/v1/undrain", self._undrain))

    async def _drain(self, request: web.Request) -> web.Response:
        wanted = await _read(request)
        reason = wanted.reason.strip() or ASKED
        try:
            done = drain(self._state, wanted.instances, reason=reason, force=wanted.force)
        except FleetError as error:
            return wire.refused(error)
        return wire.document({"drained": [i.name for i in done]})

    async def _undrain(self, request: web.Request) -> web.Response:
        wanted = await _read(request)
        try:
            done = undrain(self._state, wanted.instances)
        except FleetError as error:
            return wire.refused(error)
        return wire.document({"undrained": [i.name for i in done]})


async def _read(request: web.Request) -> _Wanted:
    wanted = await wire.read(request, _Wanted)
    if not wanted.instances:
        raise web.HTTPBadRequest(text="`instances` names whom it is about")
    return wanted
