"""A change in each store that it concerns, for whoever asks: the one way to copy and to delete.

Each goes through the one instance that changes the store (control/mutations.py), is never sent
twice, and has been seen in the store before anybody is told of it.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

from msgspec.structs import replace

from ollama_fleet.control.mutations import Mutations
from ollama_fleet.errors import Failure
from ollama_fleet.router.intake import Request
from ollama_fleet.router.relay import Client, Relay

Turn = Callable[[str], AbstractAsyncContextManager[None]]
Listener = TypeVar("Listener", bound=Client)


async def in_each_store(
    relay: Relay,
    mutations: Mutations,
    wanted: Request,
    turn: Turn,
    listener: Callable[[], Listener],
) -> dict[str, Listener | Failure]:
    """How it went in each store: one of the listeners, which has heard the answer, or a Failure."""
    outcomes: dict[str, Listener | Failure] = {}
    for store in await mutations.holding(wanted.key) or mutations.stores(wanted.key):
        heard = listener()
        try:
            async with turn(store):
                await relay.serve(once(mutations, wanted, store), heard)
                await mutations.refresh(store)
        except Failure as failure:
            outcomes[store] = failure
        else:
            outcomes[store] = heard
    return outcomes


def once(mutations: Mutations, wanted: Request, store: str) -> Request:
    """The request for the one instance that changes a store, which is never sent it twice."""
    return replace(wanted, only=mutations.hands(store), key="", repeatable=False)
