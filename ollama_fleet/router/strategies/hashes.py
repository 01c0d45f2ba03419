"""By who asks: ip_hash, and session, which leaves an instance that has more than its share."""

from hashlib import blake2b
from math import ceil
from typing import Final

from ollama_fleet.router.intake import Request
from ollama_fleet.router.policy import Ahead, Figures, Strategy, View
from ollama_fleet.router.strategies.tools import OncePerRequest, Tools
from ollama_fleet.state import Instance

SESSION: Final = b"x-session-id"
_BOUND: Final = 1.25  # of the mean load: more is given to the next in the session's order


def ip_hash(tools: Tools) -> Strategy:
    """The same client goes to the same instance, as long as that is there."""

    def score(
        request: Request, instance: Instance, _view: View, _now_s: float, _ahead: Ahead
    ) -> Figures:
        return (_rank(request.client, instance),)

    return Strategy("ip_hash", score, (), model_aware=tools.model_aware)


def session(tools: Tools) -> Strategy:
    """The same session goes to the same instance, unless that has 1.25 times its share."""
    share = OncePerRequest(_share)
    named = OncePerRequest(lambda request, _view: session_of(request))

    def score(
        request: Request, instance: Instance, view: View, now_s: float, ahead: Ahead
    ) -> Figures:
        load = instance.in_flight + instance.bound + ahead.count
        rank = _rank(named(request, view, now_s), instance)
        return rank + (load >= share(request, view, now_s)), rank, load

    return Strategy("session", score, ("rank", "load"), model_aware=tools.model_aware)


def session_of(request: Request) -> str:
    """What names its session: the header X-Session-Id, else its API key, else its address."""
    for name, value in request.headers:
        if name.lower() == SESSION:
            return value.decode("latin-1")
    return request.tenant or request.client


def _share(request: Request, view: View) -> int:
    """How many requests an instance may have, this one included, before it is passed over."""
    pool = view.ready(request.key)
    load = 1 + sum(i.in_flight + i.bound for i in pool)
    return ceil(_BOUND * load / max(len(pool), 1))


def _rank(who: str, instance: Instance) -> float:
    """Where an instance stands in somebody's order (rendezvous hashing): 0 to 1, 0 is first.

    An instance that goes changes nothing for those who were not on it.
    """
    digest = blake2b(f"{instance.name}\0{who}".encode(), digest_size=6).digest()
    return int.from_bytes(digest) / 2**48
