"""The stand-in for the registry, a program of the tests: what it serves, and what it has sent."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp

from ollama_fleet.bench.sync.processes import ended
from ollama_fleet.errors import FleetError

_ROOT: Final = Path(__file__).parents[3]  # of a checkout: the stand-in is in no wheel
_MAKE_S: Final = 300.0  # every byte of a model is made up and hashed


@dataclass(frozen=True, slots=True)
class Made:
    """A model that was made up. `name` is what to pull; `digest` that of its manifest, in hex.

    `stored` is the name under which an Ollama lists it then; `size_bytes` counts all its blobs and
    `layers` maps their digests (`sha256:…`) to their sizes.
    """

    name: str
    stored: str
    digest: str
    layers: Mapping[str, int]

    @property
    def size_bytes(self) -> int:
        """All of its blobs."""
        return sum(self.layers.values())

    def manifests(self, store: Path) -> list[Path]:
        """Where a store has it: one file, or none."""
        host, namespace, rest = self.stored.split("/")
        path = store / "manifests" / host / namespace / rest.replace(":", "/")
        return [path] if path.is_file() else []


class Registry:
    """A running stand-in, asked over HTTP."""

    def __init__(self, session: aiohttp.ClientSession, port: int) -> None:
        self._session = session
        self.host = f"127.0.0.1:{port}"

    def name(self, model: str) -> str:
        """What to call a model of it in a pull, which must be `insecure`: `http://HOST/MODEL`."""
        return f"http://{self.host}/{model}"

    async def make(self, model: str, size_bytes: int, *, seed: int = 0, runs: bool = False) -> Made:
        """Make a model up: `<namespace>/<model>:<tag>`, weights of so many bytes and a config.

        One that `runs` has the bytes beside weights that can be run.
        """
        wanted = {"name": model, "size_bytes": size_bytes, "seed": seed, "runs": runs}
        made = await self._asked("POST", "models", wanted)
        manifest = made["manifest"]
        layers = {
            layer["digest"]: int(layer["size"])
            for layer in (*manifest["layers"], manifest["config"])
        }
        return Made(self.name(model), f"{self.host}/{model}", made["digest"], layers)

    async def set(self, **settings: Any) -> None:
        """`redirect` (elsewhere, here, none), `auth`, `bytes_per_s` of the whole link (0: any)."""
        await self._asked("PUT", "settings", settings)

    async def fail(self, *faults: Mapping[str, Any]) -> None:
        """Let these go wrong and nothing else.

        Each has a `kind` (status, reset, cut, stall, wrong, refused) and may have `path` (a part of
        the request's), `times`, `after_bytes`, `status` and `body`.
        """
        await self._asked("PUT", "faults", list(faults))

    async def counts(self) -> Mapping[str, Mapping[str, int]]:
        """`requests` and `bytes` of each "METHOD path" that was asked for since the start."""
        found: Mapping[str, Mapping[str, int]] = await self._asked("GET", "counts")
        return found

    async def bytes(self) -> int:
        """All bytes of blobs that have gone out since the start."""
        counts = await self.counts()
        return sum(c["bytes"] for path, c in counts.items() if "/manifests/" not in path)

    async def _asked(self, method: str, path: str, body: object = None) -> Any:
        url, limit = f"http://{self.host}/standin/{path}", aiohttp.ClientTimeout(total=_MAKE_S)
        async with self._session.request(method, url, json=body, timeout=limit) as answer:
            answer.raise_for_status()
            return await answer.json()


@asynccontextmanager
async def registry(session: aiohttp.ClientSession) -> AsyncIterator[Registry]:
    """A stand-in that has no models yet. Raises FleetError where there is none to run."""
    if not (_ROOT / "tests" / "registry_standin").is_dir():
        raise FleetError("the stand-in for the registry is in a checkout's tests only")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.registry_standin",
        cwd=_ROOT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    async with ended(process):
        assert process.stdout is not None, "it was asked for"
        line = await process.stdout.readline()
        if not line:
            raise FleetError("the stand-in for the registry did not start")
        yield Registry(session, json.loads(line)["port"])
