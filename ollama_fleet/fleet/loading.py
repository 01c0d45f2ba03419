"""What loads and unloads models, put together: for requests, by command, and after a pull."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from ollama_fleet.control.loads import Loads
from ollama_fleet.control.mutations import Mutations
from ollama_fleet.control.preloads import Preloads
from ollama_fleet.control.prober import Prober
from ollama_fleet.control.readahead import ReadAhead
from ollama_fleet.control.reloads import Reloads
from ollama_fleet.ollama import Ollama
from ollama_fleet.state import Instance, State


class Loaders:
    """Carries loads out while it is entered; `preloads` are those that somebody commands.

    `answer_s` is how long an instance may take to begin an answer, `drain_s` how long one that is
    to reload waits for its requests; `clock` gives monotonic seconds.
    """

    def __init__(
        self,
        state: State,
        client: Callable[[Instance], Ollama],
        prober: Prober,
        mutations: Mutations,
        *,
        answer_s: float,
        drain_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._ahead = ReadAhead()
        self._loads = Loads(state, client, answer_s=answer_s, leading=self._ahead.leading)
        self._stack = AsyncExitStack()
        self.preloads = Preloads(state, self._loads, client, prober, clock=clock)
        self._reloads = Reloads(state, client, mutations, self.preloads, prober, drain_s=drain_s)

    def retune(self, *, answer_s: float, drain_s: float) -> None:
        """Go by these from now on."""
        self._loads.retune(answer_s=answer_s)
        self._reloads.drain_s = drain_s

    async def __aenter__(self) -> Self:
        self._stack.callback(self._ahead.close)
        await self._stack.enter_async_context(self._loads)
        await self._stack.enter_async_context(self._reloads)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._stack.aclose()
