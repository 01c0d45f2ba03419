"""The route table, and what happens around every handler: redirects, refusals, errors."""

import itertools
import posixpath
import time
from collections.abc import Callable, Coroutine
from functools import partial
from html import escape
from typing import Any
from urllib.parse import quote

from ollama_fleet.sim.ollama.api import (
    anthropic,
    audio,
    cloud,
    embed,
    errors,
    lies,
    manage,
    native,
    openai,
    policy,
    publish,
    responses,
    switch,
)
from ollama_fleet.sim.ollama.api.service import ApiError, Service
from ollama_fleet.sim.ollama.faults import FaultKind
from ollama_fleet.sim.ollama.journal import Journal
from ollama_fleet.sim.ollama.wire.exchange import TEXT, Exchange

Endpoint = Callable[[Exchange, Service], Coroutine[Any, Any, None]]

ROUTES: dict[str, dict[str, Endpoint]] = {
    "/": {"HEAD": manage.alive, "GET": manage.alive},
    "/api/version": {"HEAD": manage.version, "GET": manage.version},
    "/api/status": {"GET": cloud.status},
    "/api/me": {"POST": cloud.me},
    "/api/signout": {"POST": cloud.signout},
    "/api/user/keys/*": {"DELETE": cloud.signout},
    "/api/experimental/web_search": {"POST": cloud.web_search},
    "/api/experimental/web_fetch": {"POST": cloud.web_fetch},
    "/api/tags": {"HEAD": manage.tags, "GET": manage.tags},
    "/api/ps": {"GET": manage.ps},
    "/api/show": {"POST": manage.show},
    "/api/copy": {"POST": manage.copy},
    "/api/delete": {"DELETE": manage.delete},
    "/api/pull": {"POST": publish.pull},
    "/api/push": {"POST": publish.push},
    "/api/create": {"POST": publish.create},
    "/api/blobs/*": {"HEAD": publish.head_blob, "POST": publish.post_blob},
    "/api/generate": {"POST": native.generate},
    "/api/chat": {"POST": native.chat},
    "/api/embed": {"POST": embed.embed},
    "/api/embeddings": {"POST": embed.embeddings},
    "/v1/chat/completions": {"POST": openai.chat_completions},
    "/v1/completions": {"POST": openai.completions},
    "/v1/embeddings": {"POST": embed.v1_embeddings},
    "/v1/models": {"GET": openai.models},
    "/v1/models/*": {"GET": openai.model},
    "/v1/responses": {"POST": responses.responses},
    "/v1/messages": {"POST": anthropic.messages},
    "/v1/audio/transcriptions": {"POST": audio.transcriptions},
}
SIMULATION_ROUTES: dict[str, dict[str, Endpoint]] = {
    "/sim/faults": {"GET": switch.show_faults, "POST": switch.set_faults},
}
_METHODS = ("HEAD", "GET", "POST", "DELETE")
_TOLD = {"/api/ps", "/api/tags"}  # where the fault `lies` is told


class Routes:
    """A connection's handler: one request to one endpoint."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._loopback = policy.is_loopback(service.settings.host)
        self._table = ROUTES
        if service.settings.faults is not None:
            self._table = ROUTES | SIMULATION_ROUTES
        journal = service.settings.journal
        self._journal = Journal(journal) if journal is not None else None
        self._lies = itertools.count()

    async def handle(self, exchange: Exchange) -> None:
        """Answer a request."""
        head = exchange.head
        if _redirect_unclean(exchange):
            return
        endpoints = self._match(head.path)
        if endpoints is None and self._redirect_slash(exchange):
            return
        if endpoints is not None and head.method not in endpoints:
            allowed = ", ".join(method for method in _METHODS if method in endpoints)
            exchange.common_headers.append(("Allow", allowed))
        if policy.refused(exchange, self._service.settings.origins, loopback=self._loopback):
            return
        if endpoints is None:
            exchange.send(404, b"404 page not found", TEXT)
        elif head.method not in endpoints:
            exchange.send(405, b"405 method not allowed", TEXT)
        else:
            await self._run(exchange, endpoints[head.method])

    async def _run(self, exchange: Exchange, endpoint: Endpoint) -> None:
        head, faults = exchange.head, self._service.faults
        if head.path in _TOLD and faults.standing(FaultKind.LIES) is not None:
            lies.tell(exchange, self._service, next(self._lies))
            return
        if self._journal is not None and (request_id := head.headers.get("x-request-id")):
            exchange.begins = partial(self._journal.answered, request_id, time.monotonic())
        try:
            await endpoint(exchange, self._service)
        except ApiError as error:
            write = errors.native
            if exchange.head.path == "/v1/messages" and not error.native:
                write = errors.messages
            elif exchange.head.path.startswith("/v1/") and not error.native:
                write = errors.v1
            write(exchange, error)

    def _match(self, path: str) -> dict[str, Endpoint] | None:
        if path in self._table and not path.endswith("*"):
            return self._table[path]
        parent, _, last = path.rpartition("/")
        return self._table.get(f"{parent}/*") if last else None

    def _redirect_slash(self, exchange: Exchange) -> bool:
        """Redirect a path that has only a slash at the end too much, before anyone is judged."""
        head = exchange.head
        endpoints = self._match(head.path.rstrip("/")) if head.path.endswith("/") else None
        if endpoints is None or head.method not in endpoints:
            return False
        target = quote(head.path.rstrip("/"), _UNESCAPED)
        _redirect(exchange, 301 if head.method == "GET" else 307, target)
        return True


_UNESCAPED = "/$&+,;=:@"  # what Go leaves as it is in a path


def _redirect_unclean(exchange: Exchange) -> bool:
    """Go redirects a path with empty, `.` or `..` elements before anything else sees it."""
    path = exchange.head.escaped_path
    clean = posixpath.normpath("/" + path.lstrip("/"))
    if path.endswith("/") and clean != "/":
        clean += "/"
    if clean == path or exchange.head.method == "CONNECT":
        return False
    _redirect(exchange, 307, quote(clean, _UNESCAPED))  # it escapes what is escaped already
    return True


def _redirect(exchange: Exchange, status: int, target: str) -> None:
    query = f"?{exchange.head.query}" if exchange.head.query else ""
    headers = [("Location", target + query)]
    if exchange.head.method not in {"GET", "HEAD"}:
        exchange.send(status, headers=headers)
        return
    if exchange.head.method == "HEAD":
        exchange.common_headers += [*headers, ("Content-Type", "text/html; charset=utf-8")]
        exchange.bare(status)
        return
    phrase = "Moved Permanently" if status == 301 else "Temporary Redirect"
    body = f'<a href="{escape(target + query)}">{phrase}</a>.\n\n'
    exchange.send(status, body.encode(), "text/html; charset=utf-8", headers)
