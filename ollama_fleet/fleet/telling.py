"""How a running fleet is told to stop: by signals and by `fleet down`; a second time, at once."""

import asyncio
import sys
from collections.abc import Callable
from typing import Final

from ollama_fleet.system.signals import hear

_STOPPING: Final = ("SIGINT", "SIGTERM", "SIGBREAK")  # the last is Windows' own


class Told:
    """What a fleet has been told. `now` is set when nobody is to be waited for any more."""

    def __init__(self) -> None:
        self._to_stop = asyncio.Event()
        self.now = asyncio.Event()
        self._hung_up = asyncio.Event()

    def hold_on(self) -> None:
        """Note a SIGHUP, on the running loop, until there is something that could reload."""
        if not sys.stdin.isatty():
            hear("SIGHUP", self._hung_up.set)

    def listen(self, reload: Callable[[], None]) -> None:
        """Hear signals, on the running loop; SIGHUP has fleet.yaml read again, also an earlier one.

        On a terminal it stops the fleet: there it means that the terminal is gone.
        """
        hung_up = self._signalled if sys.stdin.isatty() else reload
        hear("SIGHUP", hung_up)
        for name in _STOPPING:
            hear(name, self._signalled)
        if self._hung_up.is_set():
            reload()

    async def to_stop(self) -> None:
        """Return when it is told to stop."""
        await self._to_stop.wait()

    def stop(self, now: bool) -> None:  # noqa: FBT001 - the shape of the callback
        """Tell it to stop."""
        self._to_stop.set()
        if now:
            self.now.set()

    def _signalled(self) -> None:
        self.stop(self._to_stop.is_set())
