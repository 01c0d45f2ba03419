"""The `serve` command: listen first, then find GPUs, then answer, as Ollama does."""

import asyncio
import errno
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping

from ollama_fleet.sim.ollama.api.routes import Routes
from ollama_fleet.sim.ollama.api.service import Service
from ollama_fleet.sim.ollama.engine import Engine
from ollama_fleet.sim.ollama.environment import Settings, read
from ollama_fleet.sim.ollama.faults import FaultKind, Faults, parse
from ollama_fleet.sim.ollama.jobs import Limits
from ollama_fleet.sim.ollama.log import log_listening, log_resources, log_store
from ollama_fleet.sim.ollama.machine import Machine
from ollama_fleet.sim.ollama.registry import Registry
from ollama_fleet.sim.ollama.remote.blob import Pace
from ollama_fleet.sim.ollama.remote.pull import Remote
from ollama_fleet.sim.ollama.runners import Runners
from ollama_fleet.sim.ollama.store import Store
from ollama_fleet.sim.ollama.usage import UsageFiles
from ollama_fleet.sim.ollama.wire.connection import Connection

BACKLOG = 1024


def serve(environment: Mapping[str, str]) -> int:
    """Run until a signal. The exit code if it cannot start."""
    try:
        faults = Faults(parse(environment.get("OLLAMA_SIM_FAULTS", "")))
        fallback = faults.standing(FaultKind.CPU_FALLBACK) is not None
        settings = read(environment, find_gpus=not fallback)
        listener = _listen(settings.host, settings.port)
    except ValueError as error:
        return _fail(str(error))
    if faults.standing(FaultKind.START_FAILURE) is not None:
        return _fail("simulated start failure")
    with asyncio.Runner(loop_factory=_new_loop) as runner:
        runner.run(_run(settings, faults, listener))
    return 0


def _new_loop() -> asyncio.AbstractEventLoop:
    """Made once the socket is there to be connected to: to import it takes a while."""
    try:
        import uvloop  # noqa: PLC0415
    except ImportError:  # Windows
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def _fail(reason: str) -> int:
    sys.stderr.write(f"Error: {reason}\n")
    return 1


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        shown = f"[{host}]" if ":" in host else host
        reason = {
            errno.EADDRINUSE: "bind: address already in use",
            errno.EACCES: "bind: permission denied",
            errno.EADDRNOTAVAIL: "bind: cannot assign requested address",
        }.get(error.errno or 0, str(error))
        raise ValueError(f"listen tcp {shown}:{port}: {reason}") from error
    listener.listen(BACKLOG)
    return listener


async def _run(settings: Settings, faults: Faults, listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    store = Store(settings.models)
    store.create_directories()
    present, removed = store.prune() if settings.prune else (None, 0)
    log_store(present, removed)
    log_listening(host, port, settings.profile.version)
    service, stop = _assemble(settings, faults, store)
    if faults.standing(FaultKind.IGNORE_TERM) is None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop)
    else:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
    delay = faults.standing(FaultKind.START_DELAY)
    if delay is not None:
        await asyncio.sleep(delay.seconds)
    log_resources(settings)
    routes = Routes(service)
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(routes.handle), sock=listener, backlog=BACKLOG
    )
    await server.serve_forever()


def _assemble(
    settings: Settings, faults: Faults, store: Store
) -> tuple[Service, Callable[[], None]]:
    """The service, and what ends the process at once."""
    machine = Machine(
        settings.gpu,
        settings.cpu,
        Limits(
            budget_bytes=settings.memory_bytes,
            parallel=settings.parallel,
            max_queue=settings.max_queue,
            max_models=settings.max_models,
            keep_alive_s=settings.keep_alive_s,
            load_timeout_s=settings.load_timeout_s,
        ),
    )
    usage: UsageFiles | None = None
    if settings.hardware is not None:
        usage = UsageFiles(settings.hardware, settings.nodes, machine)
    runners: Runners | None = None
    engine = Engine(machine, faults, changed=usage.changed if usage else lambda: None)
    if settings.runners:
        runners = engine.runners = Runners(engine.kill_runner)
    bytes_per_s = settings.profile.registry_bytes_per_s * settings.time_scale
    remote = Remote(store, Pace.scaled(settings.time_scale))
    registry = Registry(store, settings.profile, bytes_per_s, remote)
    if usage is not None:
        usage.changed()

    def stop() -> None:
        # No drain, as in Ollama: connections drop with the process.
        if runners is not None:
            runners.kill_all()
        if usage is not None:
            usage.remove()
        sys.stderr.flush()
        os._exit(0)

    return Service(settings, store, registry, engine, faults), stop
