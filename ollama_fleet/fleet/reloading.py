"""fleet.yaml read anew while the fleet runs: checked whole, then what is different is carried out.

Whatever is wrong is found before any of it, but for an instance that does not come up: that ends
the reload, and the next one goes on from what runs then. There is no moment at which an instance of
the old file is gone and none of the new one is known: requests wait for those that are to come.
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
from ollama_fleet.placement.changes import Changes, Move, batches, between, changes
from ollama_fleet.state import Instance, Kind, Notice, Phase, State

_LEAVING: Final = "fleet.yaml has something else in its place, or nothing"

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

    `check` raises FleetError for a plan that cannot be, `take` is told of the plan that is in force
    from now on, `told` whether the file that was read last is.
    """

    def __init__(
        self,
        plan: Prepared,
        state: State,
        supervising: Supervising,
        *,
        source: Source,
        check: Callable[[Prepared], None] = lambda _: None,
        take: Callable[[Prepared], None],
        told: Callable[[bool], None],
    ) -> None:
        self._plan, self._state, self._supervising = plan, state, supervising
        self._source, self._check, self._take, self._told = source, check, take, told
        self._turn = asyncio.Lock()
        self._owed: set[str] = set()  # who has not come up when a reload had it started
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
            finally:
                self._plan.claims.keep(i.spec.port for i in self._state.instances.values())
            self._tell(Kind.CONFIG_RELOADED, f"fleet.yaml was read again: {done.told}")
            self._told(True)
            return done

    async def _checked(self) -> tuple[Prepared, Changes, Reloaded]:
        """All that can be wrong is found here, before anything is changed."""
        if self._state.stopping:
            raise FleetError("the fleet is stopping")
        if not self._supervising.started:
            raise FleetError("the fleet is still starting", "try again in a moment")
        before, specs = self._plan, [i.spec for i in self._state.instances.values()]
        plan = await asyncio.to_thread(self._source.plan, before, specs)
        stuck = fixed(before.config, plan.config)
        if stuck:
            raise NotLive(stuck)
        self._check(plan)
        keys = tuple(show_path(path) for path in changed(before.config, plan.config))
        program = plan.argv != before.argv
        down = {i.name for i in self._state.instances.values() if i.name in self._owed and _down(i)}
        same = not (keys or program or down) and self._is_whole()
        wanted = plan.placement.instances
        made = Changes() if same else changes(specs, wanted, program=program, anew=down)
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
        state, wanted = self._state, plan.placement
        self._supervising.take(plan)
        state.reroute(between(state.routes, wanted.routes))
        coming = {spec.name: state.join(spec) for spec in made.added}
        try:
            for batch in batches(made):
                for move in batch:
                    coming.pop(move.new.name if move.new else "", None)
                await self._move(batch)
        finally:
            for instance in coming.values():  # it was not to be
                state.leave(instance)
        for spec in made.altered:
            state.alter(state.instances[spec.name], spec)
        state.reroute(wanted.routes)
        self._plan = plan
        self._take(plan)

    async def _move(self, batch: Sequence[Move]) -> None:
        """Drain and stop who goes, then start who comes."""
        warm = await asyncio.gather(*map(self._part, batch))
        comes = [(move.new, models) for move, models in zip(batch, warm, strict=True) if move.new]
        names = [spec.name for spec, _ in comes if not spec.external]
        self._owed.update(names)
        await asyncio.gather(
            *(
                self._supervising.join(self._state.instances[spec.name], models)
                for spec, models in comes
                if not spec.external
            )
        )
        self._require_up(names)

    async def _part(self, move: Move) -> tuple[Wanted, ...]:
        """Drain who goes, and leave it out, or put the other in its place; its warm models."""
        if move.old is None:
            return ()
        instance = self._state.instances[move.old.name]
        warm: tuple[Wanted, ...] = ()
        if instance.spec.external:
            await self._spare(instance)
        else:
            warm = await self._supervising.leave(instance.name)
        if move.new is None:
            self._state.leave(instance)
        else:
            self._state.succeed(instance, move.new)
        return warm

    async def _spare(self, instance: Instance) -> None:
        """Give an instance that is not ours nothing new, until what it has is done."""
        if instance.drain is None:
            self._state.drain(instance, _LEAVING)
        await until_idle(self._state, instance, self._plan.config.supervision.drain_timeout_s)
        if instance.drain == _LEAVING:  # else who comes in its place is drained, too
            instance.drain = None

    def _require_up(self, names: Sequence[str]) -> None:
        """Raise StartFailed if one of ours among them has not come up."""
        ours = [self._state.instances[name] for name in names]
        down = [i for i in ours if _down(i)]
        self._owed -= {i.name for i in ours if i not in down}
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


def _down(instance: Instance) -> bool:
    return instance.phase is not Phase.READY


def _settle(task: asyncio.Task[Reloaded]) -> None:
    """Whoever reloads by a signal is told by an event; what no event tells is logged."""
    if task.cancelled():
        return
    error = task.exception()
    if error is not None and not isinstance(error, FleetError):
        log.error("a reload has failed", exc_info=error)
