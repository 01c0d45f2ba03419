"""From a configuration to a fleet that runs in this process, and to its end."""

import logging
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack

from ollama_fleet.config import Loaded
from ollama_fleet.control.launcher import become_subreaper
from ollama_fleet.control.orphans import sweep
from ollama_fleet.control.ports import require_free
from ollama_fleet.directories import Directories
from ollama_fleet.errors import Exit
from ollama_fleet.fleet.certificate import Certificate
from ollama_fleet.fleet.hold import hold
from ollama_fleet.fleet.keys import Keys
from ollama_fleet.fleet.prepare import install_models, prepared, require_startable
from ollama_fleet.fleet.process import new_loop
from ollama_fleet.fleet.reloading import Source
from ollama_fleet.fleet.running import Fleet
from ollama_fleet.fleet.telling import Told
from ollama_fleet.fleet.tracing import make_tracing
from ollama_fleet.system import loop
from ollama_fleet.system.limits import raise_open_files

log = logging.getLogger(__name__)


def run(
    loaded: Loaded,
    *,
    directories: Directories,
    environ: Mapping[str, str],
    simulate: str | None = None,
    reread: Callable[[], Loaded] | None = None,
) -> int:
    """Run a fleet in this process until it is told to stop; `reread` reads its file again.

    Returns an exit code. Raises FleetError while nothing has been started yet.
    """
    directories.create()
    raise_open_files()
    with hold(directories.lock):
        again = reread or (lambda: loaded)
        loop.run(_serve(loaded, directories, environ, simulate, again), new_loop)
    return Exit.OK


async def _serve(
    loaded: Loaded,
    directories: Directories,
    environ: Mapping[str, str],
    simulate: str | None,
    reread: Callable[[], Loaded],
) -> None:
    become_subreaper()
    told = Told()
    told.hold_on()
    for line in await sweep(directories.runs, grace_s=loaded.config.supervision.stop_timeout_s):
        log.warning("left over from an earlier fleet: %s", line)
    require_free(loaded.config.listen)
    certificate = Certificate.of(loaded.config.tls)
    keys = Keys(loaded.config, directories)
    plan = await prepared(loaded, directories=directories, environ=environ, simulate=simulate)
    require_startable(plan)
    install_models(plan)
    scheme = "https" if certificate else "http"
    tracing = make_tracing(plan.config.tracing, environ, scheme=scheme)
    async with AsyncExitStack() as stack:
        source = Source(reread, directories, environ)
        fleet = Fleet(
            plan,
            directories,
            stack,
            tracing,
            keys=keys,
            source=source,
            told=told,
            certificate=certificate,
        )
        await fleet.start()
        await fleet.until_told_to_stop()
        await fleet.stop()
