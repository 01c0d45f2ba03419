"""What the fleet learns of its own speed, kept up to date while it runs and across restarts."""

import asyncio
import json
import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

from ollama_fleet.control.measuring import measure
from ollama_fleet.estimate import Estimates, Prefixes
from ollama_fleet.router.learning import Learning
from ollama_fleet.state import State

LOOK_S = 0.5  # how often the tokens that pass are counted
SAVE_S = 60.0
TOGETHER_S = 0.2  # answers that end within it are learned from in one go

log = logging.getLogger(__name__)


class Learned:
    """An async context manager: learns while it is open, and saves to `path` as it goes.

    `clock` gives monotonic seconds. A file that cannot be read or written costs what was learned,
    never the fleet.
    """

    def __init__(self, state: State, path: Path, *, clock: Callable[[], float]) -> None:
        self.estimates = Estimates()
        self.prefixes = Prefixes()
        self._learning = Learning(
            state, self.estimates, self.prefixes, clock=clock, later=_in_a_moment
        )
        measure(state, self.estimates)
        self._path = path
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        saved = await asyncio.to_thread(_read, self._path)
        if left_out := self.estimates.restore(saved):
            log.warning("%s: %d figures could not be read", self._path, left_out)
        self._learning.resume()
        self._task = asyncio.create_task(self._run(), name="learning")
        return self

    async def __aexit__(self, *_exc: object) -> None:
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        self._learning.catch_up()
        await self._save()

    async def _run(self) -> None:
        while True:
            for _ in range(round(SAVE_S / LOOK_S)):
                await asyncio.sleep(LOOK_S)
                self._learning.look()
            await self._save()

    async def _save(self) -> None:
        saved = self.estimates.saved()
        try:
            await asyncio.to_thread(_write, self._path, saved)
        except OSError as error:
            log.warning("what was learned could not be saved: %s", error)


def _in_a_moment(learn: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_later(TOGETHER_S, learn)


def _read(path: Path) -> dict[str, Any]:
    try:
        saved = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return saved if isinstance(saved, dict) else {}


def _write(path: Path, saved: dict[str, Any]) -> None:
    new = path.with_suffix(".new")
    new.touch(0o600)
    new.write_text(json.dumps(saved))
    new.replace(path)
