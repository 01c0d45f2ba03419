"""fleet.yaml read anew while the fleet runs: checked whole, then what is different is carried out.

The order is: who goes, who starts anew (one by one, drained), who comes. Whatever is wrong is found
before any of it, but for an instance that does not come back: that ends the reload, and the next
one goes on from what runs then.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ollama_fleet.config import Loaded
from ollama_fleet.config.alive import changed, fixed
from ollama_fleet.config.paths import show_path
from ollama_fleet.control.leaving import until_idle
from ollama_fleet.control.supervisor.warmth import Wanted
from ollama_fleet.directories import Directories
from ollama_fleet.errors import FleetError, NotLive, StartFailed
from ollama_fleet.fleet.prepare import Prepared, prepared_anew
from ollama_fleet.fleet.supervising import Supervising
from ollama_fleet.placement import InstanceSpec
from ollama_fleet.placement.changes import Changes, Renewal, batches, changes
from ollama_fleet.state import Instance, Kind, Notice, Phase, State

_LEAVING: Final = "fleet.yaml no longer has it"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What a reload does: to instances, by name, and which keys of fleet.yaml say something else.

    `altered` are instances that take something without being touched.
    """

    removed: tuple[str, ...] = ()
    restarted: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    altered: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()

    @property
    def told(self) -> str:
        """In words."""
        parts = [
            f"{what} {', '.join(names)}"
            for what, names in (
                ("removed", self.removed),
                ("restarted", self.restarted),
                ("added", self.added),
                ("altered", self.altered),
            )
            if names
        ]
        return "; ".join(parts) or "no instance was touched"


@dataclass(frozen=True, slots=True)
class Source:
    """Where a configuration comes from: `reread` reads it again. Raises FleetError."""

    reread: Callable[[], Loaded]
    directories: Directories
    environ: Mapping[str, str]

    def plan(self, before: Prepared, running: Sequence[InstanceSpec]) -> Prepared:
        """What it makes of a fleet that runs so; nothing is changed. Blocks. Raises FleetError."""
        return prepared_anew(
            before,
            self.reread(),
            directories=self.directories,
            environ=self.environ,
            running=running,
        )


class Reloading:
    """Takes changed configurations, one at a time.

    `take` is told of the plan that is in force from now on,
    `told` whether the file that was read last is.
    """

    def __init__(
        self,
        plan: Prepared,
        state: State,
        supervising: Supervising,
        *,
        source: Source,
        take: Callable[[Prepared], None],
        told: Callable[[bool], None],
    ) -> None:
        self._plan, self._state, self._supervising = plan, state, supervising
        self._source, self._take, self._told = source, take, told
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[Reloaded]] = set()

    def begin(self) -> None:
        """Reload in the background; how that went is an event."""
        self._start(dry_run=False).add_done_callback(_settle)

    async def reload(self, *, dry_run: bool = False) -> Reloaded:
        """Take what the file says now, or only say what that would come to. Raises FleetError.

        Whoever leaves early ends nothing.
        """
        return await asyncio.shield(self._start(dry_run=dry_run))

    async def close(self) -> None:
        """End what is under way."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, *, dry_run: bool) -> asyncio.Task[Reloaded]:
        task = asyncio.create_task(self._run(dry_run=dry_run), name="reload")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _run(self, *, dry_run: bool) -> Reloaded:
        async with self._turn:
            try:
                plan, made, done = await self._checked()
                if dry_run:
                    return done
                await self._carry_out(plan, made)
            except FleetError as error:
                if not dry_run:
                    self._refuse(error)
                raise
            self._tell(Kind.CONFIG_RELOADED, f"fleet.yaml was read again: {done.told}")
            self._told(True)
            return done

    async def _checked(self) -> tuple[Prepared, Changes, Reloaded]:
        """All that can be wrong is found here, before anything is changed."""
        before, specs = self._plan, [i.spec for i in self._state.instances.values()]
        plan = await asyncio.to_thread(self._source.plan, before, specs)
        stuck = fixed(before.config, plan.config)
        if stuck:
            raise NotLive(stuck)
        keys = tuple(show_path(path) for path in changed(before.config, plan.config))
        program = plan.argv != before.argv
        same = not keys and not program and self._is_whole()
        made = Changes() if same else changes(specs, plan.placement.instances, program=program)
        done = Reloaded(
            removed=tuple(spec.name for spec in made.removed),
            restarted=tuple(renewal.new.name for renewal in made.renewed),
            added=tuple(spec.name for spec in made.added),
            altered=tuple(spec.name for spec in made.altered),
            keys=keys,
        )
        return (before if same else plan), made, done

    def _is_whole(self) -> bool:
        """No reload has ended half-way: the plan's instances are those that are there."""
        specs = {spec.name: spec for spec in self._plan.placement.instances}
        return specs == {i.name: i.spec for i in self._state.instances.values()}

    # -- carrying it out ------------------------------------------------------------------------

    async def _carry_out(self, plan: Prepared, made: Changes) -> None:
        self._supervising.take(plan)
        await asyncio.gather(*(self._part(spec) for spec in made.removed))
        for batch in batches(made.renewed):
            await self._renew(batch)
        for spec in made.altered:
            self._state.alter(self._state.instances[spec.name], spec)
        await asyncio.gather(*(self._join(spec) for spec in made.added))
        self._state.reroute(plan.placement.routes)
        self._plan = plan
        self._take(plan)
        self._require_up([spec.name for spec in made.added])

    async def _renew(self, batch: Sequence[Renewal]) -> None:
        """Drain and stop these, then start them as they are to be."""
        old = [self._state.instances[renewal.old.name] for renewal in batch]
        warm = await asyncio.gather(*(self._part(renewal.old) for renewal in batch))
        await asyncio.gather(
            *(
                self._join(renewal.new, number=was.number, drain=was.drain, warm=models)
                for renewal, was, models in zip(batch, old, warm, strict=True)
            )
        )
        self._require_up([renewal.new.name for renewal in batch])

    async def _part(self, spec: InstanceSpec) -> tuple[Wanted, ...]:
        """Drain it and leave it out; what it had in memory."""
        instance = self._state.instances[spec.name]
        warm: tuple[Wanted, ...] = ()
        drain = instance.drain
        if spec.external:
            self._state.drain(instance, drain or _LEAVING)
            drain_s = self._plan.config.supervision.drain_timeout_s
            await until_idle(self._state, instance, drain_s)
        else:
            warm = await self._supervising.leave(spec.name)
        self._state.leave(instance)
        instance.drain = drain
        return warm

    async def _join(
        self,
        spec: InstanceSpec,
        *,
        number: int | None = None,
        drain: str | None = None,
        warm: tuple[Wanted, ...] = (),
    ) -> None:
        instance = self._state.join(spec, number=number, drain=drain)
        if not spec.external:
            await self._supervising.join(instance, warm)

    def _require_up(self, names: Sequence[str]) -> None:
        """Raise StartFailed if one of ours among them has not come up."""
        down = [i for i in map(self._state.instances.__getitem__, names) if _is_down(i)]
        if down:
            causes = "; ".join(f"{i.name}: {i.cause}" for i in down)
            raise StartFailed(
                f"an instance has not come up as fleet.yaml says now: {causes}",
                "what comes after it was not done; mend the cause, then `fleet reload`",
            )

    def _refuse(self, error: FleetError) -> None:
        self._tell(Kind.CONFIG_REFUSED, f"fleet.yaml was not taken: {error.told}")
        self._told(False)

    def _tell(self, kind: Kind, text: str) -> None:
        self._state.notice(Notice(kind=kind, text=text))


def _is_down(instance: Instance) -> bool:
    return not instance.spec.external and instance.phase is not Phase.READY


def _settle(task: asyncio.Task[Reloaded]) -> None:
    """Whoever reloads by a signal is told by an event; what no event tells is logged."""
    if task.cancelled():
        return
    error = task.exception()
    if error is not None and not isinstance(error, FleetError):
        log.error("a reload has failed", exc_info=error)
