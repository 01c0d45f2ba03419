"""Run the stand-in: its port is the one line on stdout; it ends with a signal."""

import argparse
import asyncio
import json
import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from aiohttp import web

from registry_standin.models import Models
from registry_standin.server import Standin


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="registry_standin")
    parser.add_argument("--store", type=Path, help="serve every model of this store")
    parser.add_argument("--model", action="append", default=[], help="NAME=BYTES, made up")
    given = parser.parse_args()
    logging.getLogger("aiohttp.server").addFilter(_is_news)
    models = Models()
    if given.store:
        models.add_store(given.store)
    for seed, made in enumerate(given.model):
        name, _, size = made.partition("=")
        models.make(name, int(size), seed)
    asyncio.run(_serve(Standin(models)))


def _is_news(record: logging.LogRecord) -> bool:
    """Connections break here because they are asked to, or because a client has what it wants."""
    return not (record.exc_info and isinstance(record.exc_info[1], ConnectionError))


async def _serve(standin: Standin) -> None:
    runner = web.AppRunner(
        standin.application(),
        access_log=None,
        handler_cancellation=True,
        handle_signals=True,
        shutdown_timeout=0.1,
    )
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    standin.port = runner.addresses[0][1]
    sys.stdout.write(json.dumps({"port": standin.port}) + "\n")
    sys.stdout.flush()
    try:
        await asyncio.Event().wait()
    except web.GracefulExit:
        pass
    finally:
        await runner.cleanup()


if __name__ == "__main__":
    main()
