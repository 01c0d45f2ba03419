"""Requests to a registry: a token where it asks for one, redirects, and refusals as errors."""

import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from urllib.parse import urlencode, urljoin, urlsplit

from ollama_fleet.names import ModelName
from ollama_fleet.sim.ollama.remote.http import Answer, HttpError, request

MAX_REDIRECTS = 10
REDIRECTS = frozenset((301, 302, 303, 307, 308))
NO_FILE = "file does not exist"
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')


class Requests:
    """Asks one registry on behalf of one pull; a token is kept for the next request.

    A name's scheme says nothing: without `insecure` it is HTTPS whatever was written before it.
    """

    def __init__(self, name: ModelName, *, insecure: bool) -> None:
        self._base = f"{'http' if insecure else 'https'}://{name.host}"
        self._token = ""

    def url(self, path: str) -> str:
        """The address of a path at the registry."""
        return f"{self._base}{path}"

    @asynccontextmanager
    async def ask(
        self, method: str, url: str, *, accept: str = "", leave: bool = True
    ) -> AsyncIterator[Answer]:
        """Ask, once more with a token where one is wanted. Raises HttpError for every refusal.

        Redirects are followed; those to another host only with `leave`, else they are the answer.
        """
        for _ in range(2):
            async with self._followed(method, url, accept, leave=leave) as answer:
                if answer.status == HTTPStatus.UNAUTHORIZED:
                    challenge = answer.headers.get("www-authenticate", "")
                    self._token = await _token(challenge, urlsplit(url).netloc)
                    continue
                if answer.status == HTTPStatus.NOT_FOUND:
                    raise HttpError(NO_FILE)
                if answer.status >= HTTPStatus.BAD_REQUEST:
                    raise HttpError(f"{answer.status}: {(await answer.content()).decode()}")
                yield answer
                return
        raise HttpError("unauthorized: access denied")

    @asynccontextmanager
    async def _followed(
        self, method: str, url: str, accept: str, *, leave: bool
    ) -> AsyncIterator[Answer]:
        first = urlsplit(url).hostname
        for _ in range(MAX_REDIRECTS + 1):
            headers = {"Accept": accept} if accept else {}
            if self._token and urlsplit(url).hostname == first:
                headers["Authorization"] = f"Bearer {self._token}"
            async with request(method, url, headers) as answer:
                location = urljoin(url, answer.headers.get("location", ""))
                stays = leave or urlsplit(location).hostname == first
                if answer.status not in REDIRECTS or not stays:
                    yield answer
                    return
            url = location
        raise HttpError("maximum redirects exceeded (10) for directURL")


async def _token(challenge: str, authority: str) -> str:
    """A token from where the registry says, which must be the registry itself."""
    asked: Mapping[str, str] = dict(_CHALLENGE.findall(challenge))
    realm = asked.get("realm", "")
    host = urlsplit(realm).netloc
    if host != authority:
        raise HttpError(f'realm host "{host}" does not match original host "{authority}"')
    query = urlencode({"service": asked.get("service", ""), "scope": asked.get("scope", "")})
    async with request("GET", f"{realm}?{query}") as answer:
        content = await answer.content()
    if answer.status >= HTTPStatus.BAD_REQUEST:
        raise HttpError(f"{answer.status}: {content.decode()}" if content else str(answer.status))
    return str(json.loads(content).get("token", ""))
