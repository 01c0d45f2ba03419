"""A running stand-in, as tests hold it: its names, its counts, and what is to go wrong."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fleet_process import call


class RegistryProcess:
    """A stand-in in another process."""

    def __init__(self, port: int):
        self.port = port
        self.host = f"127.0.0.1:{port}"

    def name(self, model: str) -> str:
        """What to call one of its models in a pull (with `insecure`): `http://HOST/MODEL`."""
        return f"http://{self.host}/{model}"

    def make(self, name: str, size_bytes: int, *, seed: int = 0) -> dict[str, Any]:
        """Make up a model `<namespace>/<model>:<tag>`; its `digest` and its `manifest`."""
        asked = {"name": name, "size_bytes": size_bytes, "seed": seed}
        return call(f"http://{self.host}/standin/models", asked, timeout=60)

    def put(self, name: str, manifest: bytes) -> None:
        """Give a model any bytes for its manifest."""
        call(f"http://{self.host}/standin/manifests/{name}", manifest, method="PUT")

    def set(self, **settings: Any) -> None:
        """`redirect` (elsewhere, here, none), `auth`, `bytes_per_s` of the whole link (0: any)."""
        call(f"http://{self.host}/standin/settings", settings, method="PUT")

    def fail(self, *faults: dict[str, Any]) -> None:
        """Let these go wrong and nothing else; see faults.Fault for their fields."""
        call(f"http://{self.host}/standin/faults", json.dumps(faults).encode(), method="PUT")

    def counts(self) -> dict[str, dict[str, int]]:
        """`requests` and `bytes` of each "METHOD path" that was asked for."""
        return call(f"http://{self.host}/standin/counts")

    def blob_bytes(self) -> int:
        """All bytes of blobs that have gone out."""
        counts = self.counts().items()
        return sum(count["bytes"] for path, count in counts if "/manifests/" not in path)


@contextmanager
def registry(store: Path | None = None) -> Iterator[RegistryProcess]:
    """A stand-in with the models of a store, or with none."""
    command = [sys.executable, str(Path(__file__).parent)]
    command += ["--store", str(store)] if store else []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield RegistryProcess(json.loads(process.stdout.readline())["port"])
        finally:
            process.terminate()
