"""The third case: an instance with which nothing is shared but the network."""

import asyncio
import secrets
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import aiohttp

from ollama_fleet.bench.ports import free_port
from ollama_fleet.bench.sync.fleet import last_of
from ollama_fleet.bench.sync.registry import Made
from ollama_fleet.bench.sync.row import Row
from ollama_fleet.bench.sync.stage import Setting, stage

_NOTHING: Final = (404, b"not found")
_LOOK_S: Final = 0.005


async def remote_instance(quick: bool) -> Row:  # noqa: FBT001 - the shape of a case
    """A fleet of one instance, and one of nobody's with a store of its own."""
    return await on_remote_instance(64_000_000 if quick else 2_000_000_000)


async def on_remote_instance(size_bytes: int) -> Row:
    """The third case with a model of so many bytes."""
    listener = f"127.0.0.1:{free_port()}"
    # At its usual pace also a simulated Ollama takes a second for a layer, in which to spy.
    setting = Setting(
        stores=1, remotes=1, listener=listener, environ={"OLLAMA_SIM_TIME_SCALE": "1"}
    )
    async with stage(setting) as on:
        made = await on.registry.make("library/big:1", size_bytes)
        spied = Spied()
        spying = asyncio.create_task(_spy(on.session, listener, made, spied))
        began_s = asyncio.get_running_loop().time()
        last = await last_of(on.fleet.pull(made.name))
        took_s = asyncio.get_running_loop().time() - began_s
        spying.cancel()
        await asyncio.gather(spying, return_exceptions=True)
        open_after = await _round(on.session, listener, made, Spied())
        sent_bytes = await on.registry.bytes()
        remote = dict(await on.remotes[0].digests())
    right = remote == {made.stored: made.digest}
    return Row(
        case=f"remote instance, {size_bytes / 1e9:g} GB",
        target="0 bytes from the registry for it, right name and digest; "
        "nothing to be read from the listener without the token",
        found=f"{sent_bytes - made.size_bytes} bytes more than one download; name and digest "
        f"{'right' if right else 'WRONG'}; {spied}; afterwards "
        f"{'still open' if open_after else 'closed'}",
        holds=last.get("status") == "success"
        and sent_bytes == made.size_bytes
        and right
        and spied.in_vain
        and not open_after,
        registry_bytes=sent_bytes,
        model_bytes=made.size_bytes,
        seconds=round(took_s, 3),
        figures={
            "refused": spied.refused,
            "unreachable": spied.unreachable,
            "answered_otherwise": dict(spied.otherwise),
            "listed_there": remote,
            "real_ollama": on.program.real,
        },
    )


@dataclass(slots=True)
class Spied:
    """What came of asking the listener without its token: refused, no connection, or what else."""

    refused: int = 0
    unreachable: int = 0
    otherwise: Counter[str] = field(default_factory=Counter)

    @property
    def in_vain(self) -> bool:
        """It was asked while it was open, and gave nothing away."""
        return self.refused > 0 and not self.otherwise

    def __str__(self) -> str:
        said = f"{self.refused} requests without the token refused"
        return said + (f", {self.otherwise.total()} ANSWERED" if self.otherwise else "")


async def _spy(session: aiohttp.ClientSession, listener: str, made: Made, spied: Spied) -> None:
    """Ask for all that might be there, again and again, until cancelled."""
    while True:
        await _round(session, listener, made, spied)
        await asyncio.sleep(_LOOK_S)


async def _round(session: aiohttp.ClientSession, listener: str, made: Made, spied: Spied) -> bool:
    """Ask once for each; whether anybody listened."""
    for target in _targets(made):
        try:
            async with session.get(f"http://{listener}{target}") as answer:
                told = answer.status, await answer.read()
        except aiohttp.ClientConnectorError:
            spied.unreachable += 1
            return False
        except (aiohttp.ClientError, ConnectionError):
            spied.unreachable += 1  # it was closed meanwhile
        else:
            spied.refused += told == _NOTHING
            if told != _NOTHING:
                spied.otherwise[f"{target}: {told[0]}"] += 1
    return True


def _targets(made: Made) -> Iterator[str]:
    """The model and its blobs under no token, under its own namespace, and under wrong tokens."""
    _, namespace, model = made.stored.split("/")
    name, _, tag = model.partition(":")
    for prefix in ("", "/library", f"/{namespace}", f"/{secrets.token_hex(32)}", f"/{'0' * 64}"):
        for path in (f"{prefix}/{name}", prefix):
            yield f"/v2{path}/manifests/{tag}"
            yield from (f"/v2{path}/blobs/{digest}" for digest in made.layers)
    yield from ("/", "/v2/", "/v2/_catalog", f"/v2/{namespace}/{name}/tags/list")
    yield from ("/api/tags", "/api/version", "/metrics", "/v1/status")
