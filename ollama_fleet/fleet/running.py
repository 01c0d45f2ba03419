"""A running fleet: everything is put together here, started in order and stopped in reverse."""

import asyncio
import logging
import random
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import uvloop

from ollama_fleet.api.admin import Admin, Commands
from ollama_fleet.api.admin.events import EventCommands
from ollama_fleet.api.admin.live import LiveCommands
from ollama_fleet.api.admin.models import ModelCommands
from ollama_fleet.api.admin.prunings import PruneCommands
from ollama_fleet.api.admin.requests import RequestCommands
from ollama_fleet.api.admin.syncs import SyncCommands
from ollama_fleet.api.bodies import Limits
from ollama_fleet.api.connection import Front
from ollama_fleet.api.parts import Parts
from ollama_fleet.config import Loaded
from ollama_fleet.control.cpu import CpuReadings
from ollama_fleet.control.launcher import LocalLauncher, become_subreaper
from ollama_fleet.control.library.pruning import Pruning
from ollama_fleet.control.logs import ChildLogs
from ollama_fleet.control.mutations import Mutations
from ollama_fleet.control.orphans import sweep
from ollama_fleet.control.ports import find_listener, is_free
from ollama_fleet.control.prober import Prober
from ollama_fleet.control.supervisor import Supervisor, start_all
from ollama_fleet.directories import Directories
from ollama_fleet.errors import CannotListen, Exit, PortTaken, nothing_called
from ollama_fleet.fleet.declared import Declared, declared
from ollama_fleet.fleet.facts import make_facts
from ollama_fleet.fleet.front import make_front
from ollama_fleet.fleet.hold import hold
from ollama_fleet.fleet.learning import Learned
from ollama_fleet.fleet.loading import Loaders
from ollama_fleet.fleet.prepare import Prepared, install_models, prepared, require_startable
from ollama_fleet.fleet.process import leave_out_what_stays, new_loop, raise_file_limit
from ollama_fleet.fleet.pulling import make_library
from ollama_fleet.fleet.recording import Recording
from ollama_fleet.fleet.reporting import Reporting
from ollama_fleet.fleet.routing import make_admission, make_relay
from ollama_fleet.fleet.tracing import Tracing, make_tracing
from ollama_fleet.fleet.watching import watched
from ollama_fleet.gpu import GpuSample
from ollama_fleet.ollama import Ollama, new_session
from ollama_fleet.state import FleetSnapshot, Instance, Kind, Notice, State, snapshot

log = logging.getLogger(__name__)


def run(
    loaded: Loaded,
    *,
    directories: Directories,
    environ: Mapping[str, str],
    simulate: str | None = None,
) -> int:
    """Run a fleet in this process until it is told to stop.

    Returns an exit code. Raises FleetError while nothing has been started yet.
    """
    directories.create()
    raise_file_limit()
    with hold(directories.lock):
        uvloop.run(_serve(loaded, directories, environ, simulate), loop_factory=new_loop)
    return Exit.OK


async def _serve(
    loaded: Loaded,
    directories: Directories,
    environ: Mapping[str, str],
    simulate: str | None,
) -> None:
    become_subreaper()
    for line in await sweep(directories.runs, grace_s=loaded.config.supervision.stop_timeout_s):
        log.warning("left over from an earlier fleet: %s", line)
    listen = loaded.config.listen
    if listen.port and not is_free(listen.host, listen.port):
        raise PortTaken(
            f"{listen} is taken by {find_listener(listen.port)}",
            "stop it, or listen elsewhere: --listen 127.0.0.1:PORT; "
            "`fleet init` says what to do about Ollama's own service",
        )
    plan = await prepared(loaded, directories=directories, environ=environ, simulate=simulate)
    require_startable(plan)
    install_models(plan)
    tracing = make_tracing(plan.config.tracing, environ)
    async with AsyncExitStack() as stack:
        fleet = Fleet(plan, directories, stack, tracing)
        await fleet.start()
        await fleet.until_told_to_stop()
        await fleet.stop()


class Fleet:
    """The parts of one running fleet and their order."""

    def __init__(
        self, plan: Prepared, directories: Directories, stack: AsyncExitStack, tracing: Tracing
    ) -> None:
        config = plan.config
        self._plan = plan
        self._directories = directories
        self._stack = stack
        self._clock = time.monotonic
        self._told = asyncio.Event()
        self._now = asyncio.Event()
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
        self._admission = make_admission(config, self.state, self._learned, self._clock)
        self._recording = Recording(
            self.state,
            directories.history,
            config,
            clock=self._clock,
            wall=time.time,
            later=asyncio.get_running_loop().call_later,
            spans=tracing.spans,
        )
        self._relay = make_relay(
            config,
            self.state,
            self._admission,
            self._recording,
            traces=tracing.traces,
            clock=self._clock,
        )
        self._front = self._make_front()
        self._supervisors: dict[str, Supervisor] = {}
        self._starting: asyncio.Task[None] | None = None
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
        if plan.config.routing.strategy == "least_loaded":  # nobody else looks at them
            await stack.enter_async_context(CpuReadings(self.state, self._clock))
        logs = ChildLogs(self._directories.logs, plan.config.logs.max_bytes, plan.config.logs.keep)
        stack.callback(logs.close)
        stack.callback(self._recording.close)
        await self._open_front()
        stack.callback(self._relay.close)
        commands = Commands(
            snapshot=self.snapshot,
            waiting=self._admission.waiting,
            pull=self._library.pull,
            restart=self.restart,
            down=self._down,
        )
        preloads, names = self._loaders.preloads, declared(plan.config)
        models = ModelCommands(self.state, self._relay, self._mutations, preloads)
        syncs = SyncCommands(self.state, self._library.syncs, names)
        live = LiveCommands(self._relay, self._recording.lately, self._clock)
        routes, socket = models.routes() + syncs.routes() + live.routes(), self._directories.socket
        routes += EventCommands(self.state.events).routes()
        routes += PruneCommands(Pruning(self.state, self._mutations, time.time)).routes()
        routes += RequestCommands(self._recording.path).routes()
        watching = watched(plan.config, self.state, self._recording, self.snapshot, self._clock)
        routes += await stack.enter_async_context(watching)
        await stack.enter_async_context(Admin(socket, self.state, commands, routes))
        await stack.enter_async_context(self._prober)
        await stack.enter_async_context(self._loaders)
        await stack.enter_async_context(Declared(self.state, self._library.syncs, preloads, names))
        self._supervise(LocalLauncher(logs))
        self._listen_to_signals()
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
        await self._told.wait()

    async def stop(self) -> None:
        """Take nothing new, let running answers end within the drain time, stop the instances."""
        self._tell(Kind.FLEET_STOPPING, "is stopping")
        self.state.stopping = True
        await self._front.stop_accepting()
        self._admission.close()
        await self._library.close()  # an Ollama that is cancelled keeps what one that ends loses
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)
        await asyncio.gather(*(s.stop(now=self._now) for s in self._supervisors.values()))
        self._tell(Kind.FLEET_STOPPED, "has stopped")

    def _tell(self, kind: Kind, text: str) -> None:
        self.state.notice(Notice(kind=kind, text=text))

    def snapshot(self) -> FleetSnapshot:
        """The fleet as it is."""
        return snapshot(self.state, self._facts, self._clock())

    async def restart(self, names: Sequence[str]) -> None:
        """Restart instances one after another, each drained first; all of them if none is named."""
        unknown = [name for name in names if name not in self._supervisors]
        if unknown:
            raise nothing_called("instance of ours", unknown, self._supervisors)
        for name in names or tuple(self._supervisors):
            await self._supervisors[name].restart()

    # -- parts ----------------------------------------------------------------------------------

    async def _read_gpus(self) -> GpuSample:
        return await self._plan.reader.read(self._plan.config.supervision.probe_timeout_s)

    def _client(self, instance: Instance) -> Ollama:
        return Ollama(self._session, instance.spec.base_url)

    def _make_front(self) -> Front:
        config = self._plan.config
        limits, spool = config.limits, self._directories.state
        parts = Parts(
            self.state,
            self._relay,
            self._mutations,
            Limits(limits.body_bytes, limits.body_timeout_s, spool=spool),
            self._library,
            self._loaders.preloads.release,
        )
        return make_front(config, parts, self._recording.answered)

    def _supervise(self, launcher: LocalLauncher) -> None:
        rng = random.Random()  # noqa: S311 - spreads restarts, guards nothing
        for instance in self.state.instances.values():
            if not instance.spec.external:
                self._supervisors[instance.name] = Supervisor(
                    instance,
                    state=self.state,
                    launcher=launcher,
                    argv=self._plan.argv,
                    settings=self._plan.config.supervision,
                    client=self._client,
                    runs=self._directories.runs,
                    clock=self._clock,
                    rng=rng,
                    read_gpus=self._read_gpus,
                )
        key_file = Path("~/.ollama/id_ed25519").expanduser()
        self._starting = asyncio.create_task(
            start_all(tuple(self._supervisors.values()), key_file), name="start"
        )

    def _listen_to_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._signalled)

    def _signalled(self) -> None:
        self._down(self._told.is_set())

    def _down(self, now: bool) -> None:  # noqa: FBT001 - the shape of the callback
        self._told.set()
        if now:
            self._now.set()
