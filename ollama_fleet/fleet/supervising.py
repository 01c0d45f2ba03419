"""The supervisors of a running fleet's own instances: started together, asked by name."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ollama_fleet.control.launcher import Launcher
from ollama_fleet.control.supervisor import Client, Supervisor, start_all
from ollama_fleet.control.supervisor.warmth import Wanted
from ollama_fleet.errors import nothing_called
from ollama_fleet.fleet.prepare import Prepared
from ollama_fleet.gpu import GpuSample
from ollama_fleet.state import Instance, Phase, State


@dataclass(frozen=True, slots=True)
class Restarted:
    """What became of a restart: who is back, who is not, who was left alone for that reason."""

    restarted: tuple[str, ...]
    failed: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


class Supervising:
    """Runs the instances of a plan from `start` to `stop`; see `Supervisor` for what it is given.

    External instances are nobody's to supervise.
    """

    def __init__(
        self,
        plan: Prepared,
        state: State,
        *,
        client: Callable[[Instance], Client],
        runs: Path,
        clock: Callable[[], float],
        read_gpus: Callable[[], Awaitable[GpuSample]],
    ) -> None:
        self._plan, self._state = plan, state
        self._client, self._runs, self._clock, self._read_gpus = client, runs, clock, read_gpus
        self._rng = random.Random()  # noqa: S311 - spreads restarts, guards nothing
        self._supervisors: dict[str, Supervisor] = {}
        self._launcher: Launcher | None = None
        self._starting: asyncio.Task[None] | None = None

    def start(self, launcher: Launcher) -> None:
        """Begin to start all of them."""
        self._launcher = launcher
        for instance in self._state.instances.values():
            if not instance.spec.external:
                self._supervisors[instance.name] = self._supervisor(instance)
        key_file = Path("~/.ollama/id_ed25519").expanduser()
        self._starting = asyncio.create_task(
            start_all(tuple(self._supervisors.values()), key_file), name="start"
        )

    @property
    def started(self) -> bool:
        """Whether it has begun."""
        return self._launcher is not None

    async def restart(self, names: Sequence[str], *, together: bool = False) -> Restarted:
        """Restart instances, each drained first; all of them if none is named.

        One after another: the next when the one before has its models in memory again and takes
        requests. One that does not come back is the last. Raises FleetError for an unknown name.
        """
        unknown = [name for name in names if name not in self._supervisors]
        if unknown:
            raise nothing_called("instance of ours", unknown, self._supervisors)
        chosen = tuple(dict.fromkeys(names)) or tuple(self._supervisors)
        if together:
            await asyncio.gather(*map(self._restart, chosen))
            back = [name for name in chosen if self._is_back(name)]
            return Restarted(tuple(back), tuple(n for n in chosen if n not in back))
        for at, name in enumerate(chosen):
            await self._restart(name)
            if not self._is_back(name):
                return Restarted(chosen[:at], (name,), chosen[at + 1 :])
        return Restarted(chosen)

    def take(self, plan: Prepared) -> None:
        """Run what joins from now on as another plan says; see to all as often as that says."""
        self._plan = plan
        for supervisor in self._supervisors.values():
            supervisor.retune(plan.config.supervision)

    async def join(self, instance: Instance, warm: tuple[Wanted, ...] = ()) -> None:
        """Start one more; it is ready on return, with `warm` in memory, or has failed."""
        supervisor = self._supervisors[instance.name] = self._supervisor(instance, warm)
        supervisor.start()
        await supervisor.settled()

    async def leave(self, name: str) -> tuple[Wanted, ...]:
        """Drain and stop one for good; what it had in memory."""
        if self._starting is not None:  # it may be about to start just this one
            await asyncio.wait((self._starting,))
        supervisor = self._supervisors[name]
        await supervisor.stop()
        self._supervisors.pop(name, None)
        return supervisor.warm

    async def _restart(self, name: str) -> None:
        if (supervisor := self._supervisors.get(name)) is not None:  # a reload may have removed it
            await supervisor.restart()

    def _is_back(self, name: str) -> bool:
        instance = self._state.instances.get(name)
        return instance is None or instance.phase is Phase.READY

    async def stop(self, now: asyncio.Event) -> None:
        """Drain and stop all; setting `now` cuts the waiting short."""
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)
        await asyncio.gather(*(s.stop(now=now) for s in self._supervisors.values()))

    def _supervisor(self, instance: Instance, warm: tuple[Wanted, ...] = ()) -> Supervisor:
        assert self._launcher is not None
        return Supervisor(
            instance,
            state=self._state,
            launcher=self._launcher,
            argv=self._plan.argv,
            settings=self._plan.config.supervision,
            client=self._client,
            runs=self._runs,
            clock=self._clock,
            rng=self._rng,
            read_gpus=self._read_gpus,
            warm=warm,
        )
