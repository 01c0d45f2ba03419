"""An answer of an instance that is kept: for commands, which look into it."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from ollama_fleet.errors import FleetError
from ollama_fleet.router.relay.framing import Head

_MOST_BYTES: Final = 64 * 2**20
_WHOSE: Final = b"X-Fleet-Instance: "


class Kept:
    """Stands where a client would, and keeps what it is sent; `status` is 502 until something is.

    `instance` is the name of who answered. What is larger than 64 MiB, or was cut, is no answer.
    """

    speaks_chunked: Final = False

    def __init__(self) -> None:
        self.status = 502
        self.instance = ""
        self._body = bytearray()
        self._whole = False

    def start(self, head: Head, ours: tuple[bytes, ...]) -> None:
        """Note how it begins, and whose it is."""
        self.status = head.status
        told = (line.removeprefix(_WHOSE) for line in ours if line.startswith(_WHOSE))
        self.instance = next(told, b"").decode()

    def write(self, data: bytes) -> None:
        """Keep a piece."""
        if len(self._body) <= _MOST_BYTES:
            self._body += data

    @property
    def straight(self) -> Callable[[bytes], object]:
        """There is no shorter way."""
        return self.write

    def finish(self) -> None:
        """All of it is there."""
        self._whole = len(self._body) <= _MOST_BYTES

    def reset(self) -> None:
        """It was cut."""
        self._whole = False

    def flow(self, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        """Memory keeps up."""

    @property
    def error(self) -> str:
        """What was wrong, in the instance's own words where it has some; "" for a success."""
        if self.status < 400 and self._whole:
            return ""
        try:
            told = self._document().get("error")
        except FleetError:
            told = None
        return str(told or f"the instance answered {self.status}, and no more")

    def document(self) -> Mapping[str, Any]:
        """The object that was answered. Raises FleetError where that is an error."""
        if self.error:
            raise FleetError(self.error)
        return self._document()

    def _document(self) -> Mapping[str, Any]:
        try:
            found = json.loads(bytes(self._body)) if self._whole else None
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise FleetError("the instance's answer is no JSON object")
        return found
