"""One blob's download: its address, its parts side by side, each tried again where it breaks off.

Times are Ollama's, divided by the simulation's time scale. But a registry and its link are real,
and are borne with for as long as a busy machine may keep them.
"""

import asyncio
import os
from collections.abc import Awaitable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

from ollama_fleet.sim.ollama.remote import parts
from ollama_fleet.sim.ollama.remote.http import Answer, CutError, HttpError, request
from ollama_fleet.sim.ollama.remote.parts import Part
from ollama_fleet.sim.ollama.remote.requests import Requests

MAX_TRIES = 6
LEAST_PATIENCE_S = 5.0


class StalledError(HttpError):
    """Nothing has come for too long."""


class NoLocationError(HttpError):
    """A registry that does not say where the bytes are."""

    def __init__(self) -> None:
        super().__init__("http: no Location header in response")


@dataclass(frozen=True, slots=True)
class Pace:
    """Ollama's times, in seconds.

    Between looks at whether a part is whole; before the second try; until silence is a stall; and
    how long an address is asked for.
    """

    look_s: float
    again_s: float
    stall_s: float
    address_s: float

    @classmethod
    def scaled(cls, time_scale: float) -> "Pace":
        """So many times as fast as Ollama, but for what depends on others."""
        second_s = 1 / time_scale
        patience_s = max(30 * second_s, LEAST_PATIENCE_S)
        return cls(second_s, second_s, patience_s, patience_s)


class Download:
    """A blob on its way to `blob`. `total` and `completed` are bytes."""

    def __init__(self, blob: Path, url: str, requests: Requests, pace: Pace) -> None:
        self._blob = blob
        self._url = url
        self._requests = requests
        self._pace = pace
        self._parts: list[Part] = []
        self._told: set[int] = set()  # parts that have had a byte since they last stalled
        self.completed = 0

    @property
    def total(self) -> int:
        """The size of the whole."""
        return sum(part.size for part in self._parts)

    async def prepare(self) -> None:
        """Find out what is there and what is missing. Raises HttpError."""
        try:
            self._parts = parts.read(self._blob)
        except ValueError as error:
            raise HttpError(str(error)) from None
        if not self._parts:
            async with self._requests.ask("HEAD", self._url) as answer:
                self._parts = list(parts.divided(int(answer.headers.get("content-length", "0"))))
            for part in self._parts:
                parts.write(self._blob, part)
        self.completed = sum(part.completed for part in self._parts)

    async def run(self) -> None:
        """Fetch what is missing; the blob is there when it returns. Raises HttpError."""
        file = os.open(parts.partial(self._blob), os.O_CREAT | os.O_RDWR, 0o644)
        try:
            os.ftruncate(file, self.total)
            address = await self._address()
            missing = (part for part in self._parts if part.left)
            await _all(self._part(part, file, address) for part in missing)
        except OSError as error:
            reason = os.strerror(error.errno or 0).lower()
            raise HttpError(f"write {parts.partial(self._blob)}: {reason}") from None
        finally:
            os.close(file)
        parts.forget(self._blob, self._parts)
        parts.partial(self._blob).rename(self._blob)

    async def _address(self) -> str:
        """Where the bytes are: Ollama takes it from the answer's Location, redirect or not."""
        tried = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(self._pace.address_s):
                while True:
                    try:
                        async with self._requests.ask("GET", self._url, leave=False) as answer:
                            return self._location(answer)
                    except NoLocationError:
                        raise
                    except HttpError:
                        tried += 1
                        await asyncio.sleep(self._pace.again_s * tried**2 / 100)
        raise HttpError("context deadline exceeded")

    def _location(self, answer: Answer) -> str:
        location = answer.headers.get("location")
        if location is None:
            raise NoLocationError
        return urljoin(self._url, location)

    async def _part(self, part: Part, file: int, address: str) -> None:
        tried = 0
        while True:
            began_s = asyncio.get_running_loop().time()
            try:
                await self._fetch(part, file, address)
            except StalledError:
                continue
            except HttpError as error:
                tried += 1
                await asyncio.sleep(self._pace.again_s * 2 ** (tried - 1))
                if tried == MAX_TRIES:
                    raise HttpError(f"max retries exceeded: {error}") from None
                continue
            # Whether a part is whole is looked at once a second, and until then it is not over.
            passed_s = asyncio.get_running_loop().time() - began_s
            await asyncio.sleep(-passed_s % self._pace.look_s)
            return

    async def _fetch(self, part: Part, file: int, address: str) -> None:
        """Fetch what is missing of a part, and write down how far it came.

        What came before a reset is not counted: nobody knows what of it is on disk.
        """
        got, left, start = 0, part.left, part.starts_at
        headers = {"Range": f"bytes={start}-{start + left - 1}"}
        try:
            async with request("GET", address, headers) as answer:
                while got < left and (piece := await self._piece(answer, part)):
                    wanted = piece[: left - got]
                    os.pwrite(file, wanted, start + got)
                    got += len(wanted)
                    self.completed += len(wanted)
            if got < left:
                raise HttpError("EOF")  # noqa: TRY301 - an answer that is short is one that failed
        except (CutError, StalledError, asyncio.CancelledError):
            self._note(part, got)
            raise
        except HttpError:
            self.completed -= got
            raise
        self._note(part, got)

    async def _piece(self, answer: Answer, part: Part) -> bytes:
        patience_s = self._pace.stall_s if part.number in self._told else None
        try:
            async with asyncio.timeout(patience_s):
                piece = await answer.piece()
        except TimeoutError:
            self._told.discard(part.number)
            raise StalledError from None
        self._told.add(part.number)
        return piece

    def _note(self, part: Part, got: int) -> None:
        part.completed += got
        parts.write(self._blob, part)


async def _all(works: Iterable[Awaitable[None]]) -> None:
    """Do all at once; the first that fails ends the others."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
