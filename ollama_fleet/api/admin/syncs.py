"""The part of the control API that makes all stores hold the same models.

POST /v1/sync/verify {"models": [...], "from": I}   the blobs, hashed: records, one per line; the
                              last has what is `damaged`, digests by store, and lines for `errors`
POST /v1/sync/plan {"models": [...], "from": I, "prune": false, "damaged": {...}}   the plan:
                              SyncPlan as JSON has it
POST /v1/sync      {"models": [...], "from": I, "remove": {...}, "damaged": {...}}   carried out;
                              records, one per line

No `models` means those that fleet.yaml declares, or all that the instance `from` has. What neither
fleet.yaml nor the request names a plan with `prune` removes; `remove` are names of models by store,
as such a plan lists them: nothing else is removed. What is `damaged` is replaced.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import msgspec
from aiohttp import web

from ollama_fleet.api.admin import wire
from ollama_fleet.control.library import SyncPlan, Syncs
from ollama_fleet.control.library.telling import told_sync
from ollama_fleet.control.targets import named
from ollama_fleet.errors import FleetError
from ollama_fleet.names import canonical
from ollama_fleet.state import State


class _Wanted(msgspec.Struct, rename={"origin": "from"}):
    models: list[str] = []
    origin: str = ""
    prune: bool = False
    remove: dict[str, list[str]] = {}
    damaged: dict[str, list[str]] = {}


class SyncCommands:
    """Plans syncs and carries them out. `declared` gives the models that fleet.yaml names."""

    def __init__(self, state: State, syncs: Syncs, declared: Callable[[], Sequence[str]]) -> None:
        self._state, self._syncs, self._declared = state, syncs, declared

    def routes(self) -> tuple[web.RouteDef, ...]:
        """The routes of this part."""
        return (
            web.post("/v1/sync/verify", self._verify),
            web.post("/v1/sync/plan", self._plan),
            web.post("/v1/sync", self._sync),
        )

    async def _verify(self, request: web.Request) -> web.StreamResponse:
        wanted = await wire.read(request, _Wanted)
        try:
            models = self._models(wanted)
        except FleetError as error:
            return wire.refused(error)
        return await wire.lines(request, self._syncs.verify(models))

    async def _plan(self, request: web.Request) -> web.StreamResponse:
        wanted = await wire.read(request, _Wanted)
        try:
            return wire.document(await self._planned(wanted, prune=wanted.prune))
        except FleetError as error:
            return wire.refused(error)

    async def _sync(self, request: web.Request) -> web.StreamResponse:
        wanted = await wire.read(request, _Wanted)
        try:
            plan = await self._planned(wanted, prune=bool(wanted.remove))
            _require_none(plan.problems)
            agreed = replace(plan, removals=_agreed(plan, wanted.remove))
            synced = told_sync(self._state, agreed, self._syncs.sync(agreed))
            return await wire.lines(request, synced)
        except FleetError as error:
            return wire.refused(error)

    async def _planned(self, wanted: _Wanted, *, prune: bool) -> SyncPlan:
        plan = await self._syncs.plan(
            self._models(wanted), origin=wanted.origin, prune=prune, damaged=wanted.damaged
        )
        return replace(plan, removals=_but(plan.removals, self._declared()))

    def _models(self, wanted: _Wanted) -> list[str]:
        """Which are meant. Raises FleetError where none are."""
        models = wanted.models or self._all_of(wanted.origin) or list(self._declared())
        if not models:
            raise FleetError(
                "fleet.yaml declares no models",
                "name them under `models` or in a group's `models`, or say --from INSTANCE",
            )
        return models

    def _all_of(self, origin: str) -> list[str]:
        if not origin:
            return []
        stored = named(self._state, [origin])[0].stored
        return [model.name for model in stored.values() if not model.remote]


def _require_none(problems: Sequence[str]) -> None:
    if problems:
        raise FleetError("; ".join(problems))


def _but(removals: Mapping[str, Sequence[str]], kept: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """What is to be removed, without models that are to be kept."""
    keys = set(map(canonical, kept))
    left = {
        store: tuple(name for name in names if canonical(name) not in keys)
        for store, names in removals.items()
    }
    return {store: names for store, names in left.items() if names}


def _agreed(plan: SyncPlan, remove: dict[str, list[str]]) -> dict[str, tuple[str, ...]]:
    """What the plan would remove, of that only what was agreed to."""
    return {
        store: tuple(name for name in names if name in remove.get(store, ()))
        for store, names in plan.removals.items()
    }
