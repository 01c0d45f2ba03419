"""Pulls from a registry: Ollama's progress records, and the files they speak of.

The registry is made up (the profile's models) unless a name gives it by its port: that one is
really asked (`remote`). One pull runs per model, whoever asks for it; it is cancelled when the last
who asked has left and resumed by the next. Layers come one after another into `<blob>-partial`,
which is renamed when complete; the manifest comes last.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from ollama_fleet.names import DEFAULT_HOST, ModelName
from ollama_fleet.sim.ollama.catalogue import layers_of
from ollama_fleet.sim.ollama.profile import Profile
from ollama_fleet.sim.ollama.remote.downloads import TICK_S
from ollama_fleet.sim.ollama.remote.http import HttpError
from ollama_fleet.sim.ollama.remote.pull import Record, Remote
from ollama_fleet.sim.ollama.store import Layer, Store

NOT_FOUND = "pull model manifest: file does not exist"


@dataclass(slots=True, eq=False)
class _Pull:
    records: list[Record] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    followers: int = 0
    task: asyncio.Task[None] | None = None

    def tell(self, record: Record) -> None:
        self.records.append(record)
        self.news.set()
        self.news = asyncio.Event()


class Registry:
    """The registry of a profile, and the pulls under way. Bytes per second are wall-clock.

    `remote` pulls from registries that are not made up.
    """

    def __init__(self, store: Store, profile: Profile, bytes_per_s: float, remote: Remote) -> None:
        self._store = store
        self._profile = profile
        self._bytes_per_s = bytes_per_s
        self._remote = remote
        self._pulls: dict[str, _Pull] = {}

    async def pull(self, name: ModelName, *, insecure: bool = False) -> AsyncIterator[Record]:
        """The records of a pull, up to `success` or an `error`; joins one that is under way."""
        pull = self._pulls.get(name.key)
        if pull is None:
            pull = self._pulls[name.key] = _Pull()
            pull.task = asyncio.create_task(self._run(name, pull, insecure=insecure))
        pull.followers += 1
        # Who joins late hears the last record first: progress is what interests it.
        told = max(len(pull.records) - 1, 0)
        try:
            while True:
                news = pull.news
                for record in pull.records[told:]:
                    yield record
                    if record.get("status") == "success" or "error" in record:
                        return
                    told += 1
                await news.wait()
        finally:
            pull.followers -= 1
            if not pull.followers and pull.task is not None:
                pull.task.cancel()
                if self._pulls.get(name.key) is pull:
                    del self._pulls[name.key]

    async def _run(self, name: ModelName, pull: _Pull, *, insecure: bool) -> None:
        pull.tell({"status": "pulling manifest"})
        try:
            if ":" in name.host:
                await self._remote.pull(name, pull.tell, insecure=insecure)
            else:
                await self._make_up(name, pull)
        except (HttpError, OSError) as error:
            pull.tell({"error": str(error)})
            return
        pull.tell({"status": "success"})

    async def _make_up(self, name: ModelName, pull: _Pull) -> None:
        model = self._profile.model(str(name)) if name.host == DEFAULT_HOST else None
        if model is None:
            raise HttpError(NOT_FOUND)
        layers, config = layers_of(model)
        self._store.create_directories()
        for layer, start in (*layers, config):
            await self._download(layer, start, pull)
        pull.tell({"status": "verifying sha256 digest"})
        pull.tell({"status": "writing manifest"})
        self._store.write_manifest(name, config[0], [layer for layer, _ in layers])

    async def _download(self, layer: Layer, start: bytes, pull: _Pull) -> None:
        path = self._store.blob(layer["digest"])
        size = layer["size"]
        if not path.exists():
            partial = path.with_name(f"{path.name}-partial")
            state = path.with_name(f"{path.name}-partial-0")
            completed = _resume_from(state.read_text() if state.exists() else "", size)
            with partial.open("ab") as file:
                if not file.tell():
                    file.write(start)
                file.truncate(size)
            began_s = asyncio.get_running_loop().time() - completed / self._bytes_per_s
            while completed < size:
                pull.tell(_progress(layer, completed))
                await asyncio.sleep(min(TICK_S, (size - completed) / self._bytes_per_s + 0.001))
                passed_s = asyncio.get_running_loop().time() - began_s
                completed = min(int(passed_s * self._bytes_per_s), size)
                part = {"N": 0, "Offset": 0, "Size": size, "Completed": completed}
                state.write_text(json.dumps(part))
            partial.rename(path)
            state.unlink(missing_ok=True)
        pull.tell(_progress(layer, size))


def _progress(layer: Layer, completed: int) -> Record:
    digest = layer["digest"]
    record = {"status": f"pulling {digest[7:19]}", "digest": digest, "total": layer["size"]}
    return record | ({"completed": completed} if completed else {})


def _resume_from(state: str, size: int) -> int:
    try:
        part = json.loads(state)
        return int(part["Completed"]) if part["Size"] == size else 0
    except (ValueError, KeyError, TypeError):
        return 0
