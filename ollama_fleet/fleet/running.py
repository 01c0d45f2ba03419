"""A running fleet: everything is put together here, started in order and stopped in reverse."""

import time
from asyncio import get_running_loop
from collections.abc import Iterator
from contextlib import AsyncExitStack

from ollama_fleet.api.admin import Admin, Commands
from ollama_fleet.control.cpu import CpuReadings
from ollama_fleet.control.footprints import Footprint, footprints
from ollama_fleet.control.launcher import LocalLauncher
from ollama_fleet.control.logs import ChildLogs
from ollama_fleet.control.mutations import Mutations
from ollama_fleet.control.prober import Prober
from ollama_fleet.directories import Directories
from ollama_fleet.errors import CannotListen
from ollama_fleet.fleet.certificate import Certificate
from ollama_fleet.fleet.commands import command_routes
from ollama_fleet.fleet.declared import Declared, declared
from ollama_fleet.fleet.facts import make_facts
from ollama_fleet.fleet.front import make_front, make_parts, retune_front
from ollama_fleet.fleet.keys import Keys
from ollama_fleet.fleet.learning import Learned
from ollama_fleet.fleet.loading import Loaders
from ollama_fleet.fleet.prepare import Prepared
from ollama_fleet.fleet.process import leave_out_what_stays, set_log_level
from ollama_fleet.fleet.pulling import make_library
from ollama_fleet.fleet.recording import Recording
from ollama_fleet.fleet.reloading import Reloading, Source
from ollama_fleet.fleet.repairing import make_repairs
from ollama_fleet.fleet.reporting import Reporting
from ollama_fleet.fleet.routing import (
    make_admission,
    make_passive,
    make_relay,
    retune,
    strategy_of,
)
from ollama_fleet.fleet.supervising import Supervising
from ollama_fleet.fleet.telling import Told
from ollama_fleet.fleet.tracing import Tracing
from ollama_fleet.fleet.watching import watched
from ollama_fleet.gpu import GpuSample
from ollama_fleet.ollama import Ollama, new_session
from ollama_fleet.state import FleetSnapshot, Instance, Kind, Notice, State, snapshot


class Fleet:
    """The parts of one running fleet and their order."""

    def __init__(
        self,
        plan: Prepared,
        directories: Directories,
        stack: AsyncExitStack,
        tracing: Tracing,
        *,
        keys: Keys,
        source: Source,
        told: Told,
        certificate: Certificate | None = None,
    ) -> None:
        config = plan.config
        self._plan = plan
        self._directories = directories
        self._stack = stack
        self._clock = time.monotonic
        self._told = told
        self.state = State(plan.placement)
        self._session = new_session()
        self._prober = Prober(
            self.state,
            self._client,
            config.supervision,
            clock=self._clock,
            read_gpus=self._read_gpus,
        )
        self._mutations = Mutations(self.state, self._prober.refresh, directories.locks)
        self._library = make_library(config, self.state, self._client, self._mutations, self._clock)
        self._loaders = Loaders(
            self.state,
            self._client,
            self._prober,
            self._mutations,
            answer_s=config.limits.first_byte_timeout_s,
            drain_s=config.supervision.drain_timeout_s,
            clock=self._clock,
        )
        self._learned = Learned(self.state, directories.learned, clock=self._clock)
        self._cpus = CpuReadings(self.state, self._clock)
        self._admission = make_admission(config, self.state, self._learned, self._clock)
        self._recording = Recording(
            self.state,
            directories.history,
            config,
            clock=self._clock,
            wall=time.time,
            later=get_running_loop().call_later,
            spans=tracing.spans,
        )
        self._passive = make_passive(config, self.state, self._clock)
        self._relay = make_relay(
            config,
            self.state,
            self._admission,
            self._recording,
            traces=tracing.traces,
            clock=self._clock,
        )
        parts = make_parts(
            config,
            self.state,
            relay=self._relay,
            mutations=self._mutations,
            library=self._library,
            unload=self._loaders.preloads.release,
            spool=directories.state,
            refused=self._recording.refused,
        )
        self._parts = parts
        self._certificate = certificate
        tls = certificate.context if certificate else None
        self._front = make_front(config, parts, keys.gate, self._recording.answered, tls)
        self._keys = keys
        self._supervising = Supervising(
            plan,
            self.state,
            client=self._client,
            runs=directories.runs,
            clock=self._clock,
            read_gpus=self._read_gpus,
        )
        self._reloading = Reloading(
            plan,
            self.state,
            self._supervising,
            source=source,
            check=self._check,
            take=self._take,
            told=self._recording.configured,
        )
        self._repairs = make_repairs(
            plan,
            self.state,
            self._prober,
            self._supervising,
            client=self._client,
            clock=self._clock,
        )
        self._declared = Declared(
            self.state, self._library.syncs, self._loaders.preloads, declared(config)
        )
        self._facts = make_facts(plan, self._clock())

    async def start(self) -> None:
        """Serve first, so that requests wait instead of failing; then start the instances."""
        stack, plan = self._stack, self._plan
        stack.callback(plan.close)
        gpus, clock = plan.inventory.gpus, self._clock
        reporting = Reporting(self.state, gpus, self._directories, clock=clock, wall=time.time)
        await stack.enter_async_context(reporting)
        await stack.enter_async_context(self._session)
        await stack.enter_async_context(self._learned)
        await stack.enter_async_context(self._cpus)
        self._look_at_cpus()
        logs = ChildLogs(self._directories.logs, plan.config.logs.max_bytes, plan.config.logs.keep)
        stack.callback(logs.close)
        stack.callback(self._recording.close)
        await stack.enter_async_context(self._keys.watched(self.state.notice, self._recording))
        if self._certificate:
            await stack.enter_async_context(self._certificate.watched(self.state.notice))
        await self._open_front()
        stack.callback(self._relay.close)
        commands = Commands(
            snapshot=self.snapshot,
            waiting=self._admission.waiting,
            pull=self._library.pull,
            restart=self._supervising.restart,
            down=self._told.stop,
        )
        routes = command_routes(
            self.state,
            relay=self._relay,
            mutations=self._mutations,
            preloads=self._loaders.preloads,
            library=self._library,
            recording=self._recording,
            reload=self._reloading.reload,
            declared=self._declared.models,
            footprints=self._footprints,
            clock=clock,
        )
        watching = watched(
            plan.config,
            self.state,
            self._recording,
            self.snapshot,
            clock,
            gate=self._keys.gate,
            crowd=self._front.crowd,
            certificate=self._certificate,
        )
        routes += await stack.enter_async_context(watching)
        await stack.enter_async_context(
            Admin(self._directories.socket, self.state, commands, routes)
        )
        stack.enter_context(self._passive)
        await stack.enter_async_context(self._prober)
        await stack.enter_async_context(self._loaders)
        await stack.enter_async_context(self._repairs)
        await stack.enter_async_context(self._declared)
        self._supervising.start(LocalLauncher(logs, binds=not plan.simulated))
        self._told.listen(reload=self._reloading.begin)
        leave_out_what_stays()
        self._tell(Kind.FLEET_STARTED, f"serves on {self._facts.listen}")

    async def _open_front(self) -> None:
        try:
            await self._stack.enter_async_context(self._front)
        except OSError as error:
            raise CannotListen(
                f"cannot listen on {self._facts.listen}: {error.strerror or error}",
                "`listen` must be an address of this machine and a port that is free",
            ) from None

    async def until_told_to_stop(self) -> None:
        """Wait for a signal or for `fleet down`."""
        await self._told.to_stop()

    async def stop(self) -> None:
        """Take nothing new, let running answers end within the drain time, stop the instances."""
        self._tell(Kind.FLEET_STOPPING, "is stopping")
        self.state.stopping = True
        await self._front.stop_accepting()
        self._admission.close()
        await self._library.close()  # an Ollama that is cancelled keeps what one that ends loses
        await self._reloading.close()
        await self._supervising.stop(self._told.now)
        self._tell(Kind.FLEET_STOPPED, "has stopped")

    def _footprints(self, key: str) -> Iterator[Footprint]:
        seen = self._learned.estimates.footprints.by_digest()
        return footprints(self.state, key, shapes=self._plan.models.shapes, seen=seen)

    def _tell(self, kind: Kind, text: str) -> None:
        self.state.notice(Notice(kind=kind, text=text))

    def _check(self, plan: Prepared) -> None:
        """Raise FleetError where `_take` would have to."""
        if plan.config.routing != self._plan.config.routing:
            strategy_of(plan.config, self._learned)

    def _take(self, plan: Prepared) -> None:
        """Go by another configuration, as far as that is not about instances."""
        before, self._plan, config = self._plan.config, plan, plan.config
        if config.routing != before.routing:
            self._admission.choose_by(strategy_of(config, self._learned))
            self._look_at_cpus()
        self._facts = make_facts(plan, self._facts.started_s)
        retune(config, self._admission, self._relay, self._passive)
        retune_front(config, self._front, self._parts)
        drain_s = config.supervision.drain_timeout_s
        self._loaders.retune(answer_s=config.limits.first_byte_timeout_s, drain_s=drain_s)
        self._prober.retune(config.supervision)
        self._repairs.retune(config.repair, drain_s=drain_s)
        set_log_level(config.logs.level)
        self._keys.follow(config)
        self._recording.seat(self.state.instances.values())
        self._declared.change(declared(config))

    def _look_at_cpus(self) -> None:
        if self._plan.config.routing.strategy == "least_loaded":  # nobody else needs to know
            self._cpus.begin()

    def snapshot(self) -> FleetSnapshot:
        """The fleet as it is."""
        return snapshot(self.state, self._facts, self._clock())

    # -- parts ----------------------------------------------------------------------------------

    async def _read_gpus(self) -> GpuSample:
        return await self._plan.reader.read(self._plan.config.supervision.probe_timeout_s)

    def _client(self, instance: Instance) -> Ollama:
        return Ollama(self._session, instance.spec.base_url)
