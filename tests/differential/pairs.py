"""A pair: one Ollama and a fleet of one, over equal stores, that are asked the same."""

import os
import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fleet_process import FleetProcess, until
from real_ollama import served

from ollama_fleet.sim.ollama.catalogue import install_profile
from ollama_fleet.sim.ollama.profile import load
from ollama_fleet.sim.ollama.store import Store

ANSWER_S = 30.0  # a real model loads and answers in less
ORIGINS = {"OLLAMA_ORIGINS": "https://*.lan,http://chat.example,moz-extension://*"}
PLAIN = "defaults: { num_parallel: 1, flash_attention: ~, keep_alive: ~, context_length: ~"
BOX = """
version: 0.20.0
registry_bytes_per_s: 20MB
nodes:
  - gpu: { name: Test GPU, memory: 64MB }
    slots: 1
    prefill_tokens_per_s: 4000
    decode_base_s: 0.02
    decode_per_busy_s: 0.001
    load_bytes_per_s: 20MB
cpu:
  prefill_tokens_per_s: 400
  decode_base_s: 0.02
  decode_per_busy_s: 0.01
  load_bytes_per_s: 20MB
models:
  - &chat { name: tiny, size: 2MB, parameter_size: 453K, quantization: F16, family: llama }
  - { <<: *chat, name: slow }
  - { <<: *chat, name: tiny-embed, size: 1MB, embedding: true, embedding_length: 16 }
  - { <<: *chat, name: caller, tools: true }
"""


def profile(*more: str, median_tokens: int = 15) -> str:
    """The box with all its models and some more that chat; answers are about so long."""
    models = "".join(f"  - {{ <<: *chat, name: {name} }}\n" for name in more)
    installed = ", ".join(("tiny", "slow", "tiny-embed", "caller", *more))
    lengths = f"median_tokens: {median_tokens}, sigma: 0.3, max_tokens: {3 * median_tokens}"
    return f"{BOX}{models}installed: [{installed}]\noutputs: {{ {lengths} }}\n"


class Pair:
    """The same bytes to both sides. `twin` is the fleet's store and the path shown for it."""

    def __init__(self, straight: int, routed: int, *, twin: tuple[bytes, bytes] = (b"", b"")):
        self.straight, self.routed, self._twin = straight, routed, twin

    def ask(self, row) -> tuple[bytes, bytes]:
        """Both raw answers to a row: of one Ollama, and through the router."""
        straight = self.ask_straight(row)
        routed = answer(self.routed, row.raw(self.routed))
        here, there = self._twin
        return straight, routed.replace(here, there) if here else routed

    def ask_straight(self, row) -> bytes:
        """The raw answer of the one Ollama alone."""
        return answer(self.straight, row.raw(self.straight))


def answer(port: int, request: bytes) -> bytes:
    """All bytes that come back until the other side closes, or resets."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S) as connection:
        try:
            connection.sendall(request)
            while data := connection.recv(1 << 16):
                received += data
        except ConnectionError:
            pass  # what came before it is the answer
    return received


@contextmanager
def running(fleet: FleetProcess, *arguments: str) -> Iterator[FleetProcess]:
    """A fleet that is up."""
    fleet.run("up", "-d", "--wait", *arguments)
    try:
        yield fleet
    finally:
        fleet.run("down", "--now", check=False)


def age(store: Path) -> None:
    """Give all models different times of change: Ollama lists equal ones in any order."""
    manifests = sorted(p for p in (store / "manifests").rglob("*") if p.is_file())
    for number, path in enumerate(manifests):
        changed = 1_790_000_000 + 100 * number
        os.utime(path, (changed, changed))


@contextmanager
def simulated_pair(
    folder: Path, profile: str, *, faults: str = "", cloud: str = ""
) -> Iterator[Pair]:
    """A simulated Ollama and a fleet of one of the same profile; `cloud` as below."""
    file = folder / "profile.yaml"
    file.write_text(profile)
    home, alone = folder / "fleet", folder / "alone"  # of one length, as a path stands in answers
    stores = [path / "state" / "simulation" / "models" for path in (home, alone)]
    install_profile(Store(stores[0]), load(str(file)))
    age(stores[0])
    shutil.copytree(stores[0], stores[1])
    scale = {"OLLAMA_SIM_TIME_SCALE": "200", "OLLAMA_SIM_FAULTS": faults, **ORIGINS}
    config = f"{_defaults(cloud)}groups: [{{ name: one, gpus: [0] }}]\n"
    fleet = FleetProcess(home, config=config, **scale)
    command = [sys.executable, "-m", "ollama_fleet.sim.ollama", "serve"]
    given = {"OLLAMA_SIM_PROFILE": str(file), **scale, "OLLAMA_NO_CLOUD": "" if cloud else "1"}
    with (
        running(fleet, f"--simulate={file}"),
        served(command, alone, stores[1], **given) as base,
    ):
        twin = tuple(str(store).encode() for store in stores)
        yield Pair(_port(base), fleet.port, twin=twin)


@contextmanager
def real_pair(
    folder: Path, ollama: str, home: Path, store: Path, *, cloud: str = ""
) -> Iterator[Pair]:
    """A real Ollama and a fleet of one, on one store.

    `cloud` is the URL that they take for that of ollama.com; without it they have no cloud.
    """
    age(store)
    config = (
        f"ollama: {{ binary: {ollama}, models: {store} }}\n"
        f"{_defaults(cloud)}groups: [{{ name: one, gpus: [] }}]\n"
    )
    given = ORIGINS | ({"OLLAMA_CLOUD_BASE_URL": cloud, "OLLAMA_NO_CLOUD": ""} if cloud else {})
    fleet = FleetProcess(folder, config=config, HOME=str(home), **ORIGINS)
    with running(fleet), served([ollama, "serve"], home, store, **given) as base:
        until(lambda: answer(fleet.port, b"GET / HTTP/1.0\r\n\r\n"), what="the fleet")
        yield Pair(_port(base), fleet.port)


def _defaults(cloud: str) -> str:
    return f"{PLAIN}, {f'cloud_base_url: {cloud!r}' if cloud else 'no_cloud: true'} }}\n"


def _port(base: str) -> int:
    return int(base.rpartition(":")[2])
