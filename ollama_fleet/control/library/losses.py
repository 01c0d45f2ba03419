"""Who goes on with a download when the instance that did it is lost.

What it has downloaded stays in the store, so another instance of that store goes on from there, or
the lost one itself, when its supervisor has started it again.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from ollama_fleet.control.library.jobs import Job
from ollama_fleet.control.mutations import Mutations
from ollama_fleet.errors import OllamaError
from ollama_fleet.state import Instance

_PAUSES_S: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)  # in one download, however many are lost


class Losses:
    """The losses of one download into one store; `sleep` takes seconds."""

    def __init__(
        self,
        job: Job,
        store: str,
        mutations: Mutations,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._job, self._store = job, store
        self._mutations = mutations
        self._sleep = sleep
        self._lost: set[str] = set()
        self._pauses_s = iter(_PAUSES_S)

    async def heir(self, instance: Instance, error: OllamaError) -> Instance:
        """Who goes on after an instance's pull has ended so.

        Raises OllamaError where the instance has said itself what is wrong, and where nobody of
        its store is up in time.
        """
        if error.status:
            raise error
        name = instance.name
        self._lost.add(name)
        another = self._mutations.designated(self._store, self._lost)
        if another is not None:
            self._job.tell({"status": f"{name} was lost, going on elsewhere"})
            return another
        self._job.tell({"status": f"{name} was lost, going on when it is back"})
        for pause_s in self._pauses_s:
            await self._sleep(pause_s)
            back = self._mutations.designated(self._store)
            if back is not None:
                return back
        raise OllamaError(f"{name} was lost while it pulled: {error.reason}") from error
