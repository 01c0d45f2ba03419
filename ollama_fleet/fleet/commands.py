"""What the control socket offers: the routes of each part, put together."""

from collections.abc import Callable, Sequence
from time import time

from aiohttp import web

from ollama_fleet.api.admin.drains import DrainCommands
from ollama_fleet.api.admin.events import EventCommands
from ollama_fleet.api.admin.footprints import FootprintCommands, Footprints
from ollama_fleet.api.admin.live import LiveCommands
from ollama_fleet.api.admin.models import ModelCommands
from ollama_fleet.api.admin.prunings import PruneCommands
from ollama_fleet.api.admin.reloads import Reload, ReloadCommands
from ollama_fleet.api.admin.requests import RequestCommands
from ollama_fleet.api.admin.syncs import SyncCommands
from ollama_fleet.control.library import Library
from ollama_fleet.control.library.pruning import Pruning
from ollama_fleet.control.mutations import Mutations
from ollama_fleet.control.preloads import Preloads
from ollama_fleet.fleet.recording import Recording
from ollama_fleet.router.relay import Relay
from ollama_fleet.state import State


def command_routes(
    state: State,
    *,
    relay: Relay,
    mutations: Mutations,
    preloads: Preloads,
    library: Library,
    recording: Recording,
    reload: Reload,
    declared: Callable[[], Sequence[str]],
    footprints: Footprints,
    clock: Callable[[], float],
) -> tuple[web.RouteDef, ...]:
    """The routes of all parts but the first.

    `declared` gives the models that fleet.yaml names, `footprints` what one takes of memory.
    """
    return (
        *ModelCommands(state, relay, mutations, preloads).routes(),
        *FootprintCommands(footprints).routes(),
        *SyncCommands(state, library.syncs, declared).routes(),
        *LiveCommands(relay, recording.lately, clock).routes(),
        *DrainCommands(state).routes(),
        *ReloadCommands(reload).routes(),
        *EventCommands(state.events).routes(),
        *PruneCommands(Pruning(state, mutations, time)).routes(),
        *RequestCommands(recording.path).routes(),
    )
