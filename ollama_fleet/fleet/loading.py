"""What loads and unloads models, put together: for requests, and by command."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from ollama_fleet.control.loads import Loads
from ollama_fleet.control.preloads import Preloads
from ollama_fleet.control.prober import Prober
from ollama_fleet.control.readahead import ReadAhead
from ollama_fleet.ollama import Ollama
from ollama_fleet.state import Instance, State


class Loaders:
    """Carries loads out while it is entered; `preloads` are those that somebody commands.

    `answer_s` is how long an instance may take to begin an answer; `clock` gives monotonic seconds.
    """

    def __init__(
        self,
        state: State,
        client: Callable[[Instance], Ollama],
        prober: Prober,
        *,
        answer_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._ahead = ReadAhead()
        self._loads = Loads(state, client, answer_s=answer_s, leading=self._ahead.leading)
        self._stack = AsyncExitStack()
        self.preloads = Preloads(state, self._loads, client, prober, clock=clock)

    async def __aenter__(self) -> Self:
        self._stack.callback(self._ahead.close)
        await self._stack.enter_async_context(self._loads)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._stack.aclose()
