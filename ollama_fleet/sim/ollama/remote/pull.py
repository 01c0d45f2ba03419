"""A whole model from a registry: its manifest, its layers one after another, then its name."""

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ollama_fleet.names import ModelName
from ollama_fleet.sim.ollama.remote.blob import Download, Pace
from ollama_fleet.sim.ollama.remote.downloads import Downloads
from ollama_fleet.sim.ollama.remote.http import HttpError
from ollama_fleet.sim.ollama.remote.manifest import DIGEST, digests
from ollama_fleet.sim.ollama.remote.requests import Requests
from ollama_fleet.sim.ollama.store import MANIFEST, Store

Record = dict[str, Any]
Tell = Callable[[Record], None]


class Remote:
    """Pulls into one store. A blob that several pulls want is downloaded once."""

    def __init__(self, store: Store, pace: Pace) -> None:
        self._store = store
        self._pace = pace
        self._downloads = Downloads()

    async def pull(self, name: ModelName, tell: Tell, *, insecure: bool) -> None:
        """Pull a model, from its manifest up to the name it gets. Raises HttpError, OSError."""
        requests = Requests(name, insecure=insecure)
        try:
            content = await _manifest(requests, name)
            wanted = digests(content)
        except HttpError as error:
            raise HttpError(f"pull model manifest: {error}") from None
        self._store.create_directories()
        loaded = [d for d in wanted if await self._layer(requests, name, d, tell)]
        tell({"status": "verifying sha256 digest"})
        for digest in loaded:
            await asyncio.to_thread(_verify, self._store.blob(digest), digest)
        tell({"status": "writing manifest"})
        self._store.write(self._store.manifest_path(name), content)

    async def _layer(self, requests: Requests, name: ModelName, digest: str, tell: Tell) -> bool:
        """Have one layer in the store; whether it had to be downloaded."""
        if not digest:
            raise HttpError(f"{name.namespace}/{name.model}: digest is empty")
        if not DIGEST.fullmatch(digest):  # else it would be a path of the registry's choice
            raise HttpError("invalid digest format")
        blob = self._store.blob(digest)
        if blob.exists():
            size = blob.stat().st_size
            tell(_progress(digest, size, size))
            return False
        url = requests.url(f"/v2/{name.namespace}/{name.model}/blobs/{digest}")
        await self._downloads.follow(
            digest,
            lambda: Download(blob, url, requests, self._pace),
            lambda total, completed: tell(_progress(digest, total, completed)),
        )
        return True


async def _manifest(requests: Requests, name: ModelName) -> bytes:
    url = requests.url(f"/v2/{name.namespace}/{name.model}/manifests/{name.tag}")
    async with requests.ask("GET", url, accept=MANIFEST) as answer:
        return await answer.content()


def _verify(blob: Path, digest: str) -> None:
    """Remove a blob that is not what its name says. Raises HttpError then."""
    with blob.open("rb") as file:
        found = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    if found != digest:
        blob.unlink()
        mismatch = "digest mismatch, file must be downloaded again"
        raise HttpError(f"{mismatch}: want {digest}, got {found}")


def _progress(digest: str, total: int, completed: int) -> Record:
    counts = {"total": total, "completed": completed}
    told = {name: count for name, count in counts.items() if count}
    return {"status": f"pulling {digest[7:19]}", "digest": digest, **told}
