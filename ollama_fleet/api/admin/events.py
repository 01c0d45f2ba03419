"""The part of the control API that tells what has happened.

GET /v1/events?after=N&limit=L&since=T&kind=K&instance=I   {"events": [...], "last": number}
GET /v1/events?follow=1&...                                likewise, one per line, and those to come

`after` is the number of an event: the first L later than it, in a stream all; without it the last
L, at most 3,000. `since` is Unix time; `kind` and `instance` may be there several times. A stream
ends when the fleet does.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from itertools import islice

from aiohttp import web

from ollama_fleet.api.admin import wire
from ollama_fleet.errors import FleetError, nothing_called
from ollama_fleet.state import Choice, Event, Events, Kind
from ollama_fleet.state.events import MOST

DEFAULT_EVENTS = 100
MAX_EVENTS = 3 * MOST


@dataclass(frozen=True, slots=True)
class _Wanted:
    after: int | None
    limit: int
    choice: Choice

    def of(self, events: Events) -> list[Event]:
        """Those there are, oldest first."""
        chosen: Iterable[Event] = filter(self.choice.has, events.after(self.after or 0))
        kept = deque(chosen, self.limit) if self.after is None else islice(chosen, self.limit)
        return list(kept)


class EventCommands:
    """Tells of events."""

    def __init__(self, events: Events) -> None:
        self._events = events

    def routes(self) -> tuple[web.RouteDef, ...]:
        """The routes of this part."""
        return (web.get("/v1/events", self._list),)

    async def _list(self, request: web.Request) -> web.StreamResponse:
        try:
            wanted = _read(request)
        except FleetError as error:
            return wire.refused(error)
        if request.query.get("follow", "") in ("1", "true"):
            return await wire.lines(request, self._followed(wanted))
        found = wanted.of(self._events)
        return wire.document({"events": found, "last": self._events.last})

    async def _followed(self, wanted: _Wanted) -> AsyncGenerator[object, None]:
        """The events there are, then each that comes; none is told twice."""
        news = asyncio.Event()

        def heard(_event: Event) -> None:
            news.set()

        self._events.on_event.append(heard)
        try:
            begun = told = self._events.last
            if wanted.after is None:
                for event in wanted.of(self._events):
                    yield event
            else:
                told = wanted.after
                news.set()
            while True:
                await news.wait()
                news.clear()
                for event in [*self._events.after(told)]:
                    told = event.number
                    if wanted.choice.has(event):
                        yield event
                    if event.kind is Kind.FLEET_STOPPED and event.number > begun:
                        return
        finally:
            self._events.on_event.remove(heard)


def _read(request: web.Request) -> _Wanted:
    query = request.query
    try:
        after = int(query["after"]) if "after" in query else None
        limit = int(query.get("limit", DEFAULT_EVENTS))
        since_s = float(query.get("since", 0))
    except ValueError:
        raise web.HTTPBadRequest(text="after, limit and since are numbers") from None
    if not 0 <= limit <= MAX_EVENTS:
        raise web.HTTPBadRequest(text=f"limit is a number from 0 to {MAX_EVENTS}")
    kinds = query.getall("kind", [])
    if unknown := [kind for kind in kinds if kind not in {*Kind}]:
        raise nothing_called("kind of event", unknown, Kind, "docs/events.md lists them")
    return _Wanted(after, limit, Choice(kinds, query.getall("instance", []), since_s))
