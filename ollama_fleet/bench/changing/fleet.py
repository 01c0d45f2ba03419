"""The fleet that is changed: four instances of a program whose file can be replaced."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import psutil

from ollama_fleet.bench.demo.fleet import TemporaryFleet
from ollama_fleet.bench.demo.stage import Stage
from ollama_fleet.bench.faults.fleet import MODEL
from ollama_fleet.directories import Directories
from ollama_fleet.sim.ollama.catalogue import install_profile
from ollama_fleet.sim.ollama.profile import load
from ollama_fleet.sim.ollama.store import Store

INSTANCES: Final = 4
OLD, NEW = "0.20.0", "0.21.0"
_SLOTS: Final = 50
_PROFILE: Final = f"""
name: changes
description: CPUs with many slots
version: VERSION
registry_bytes_per_s: 200MB
nodes: []
cpu:
  {{ slots: {_SLOTS}, prefill_tokens_per_s: 4000, decode_base_s: 0.05, decode_per_busy_s: 0,
    load_bytes_per_s: 4GB }}
models:
  - {{ name: "{MODEL}", size: 500MB, parameter_size: 1B, quantization: F16, family: llama }}
installed: ["{MODEL}"]
outputs: {{ median_tokens: 40, sigma: 0.5, max_tokens: 512 }}
"""
# Its version stands in the file of the program, as that of the real one does.
_PROGRAM: Final = """#!/bin/sh
OLLAMA_SIM_PROFILE={profile} exec {python} -m ollama_fleet.sim.ollama "$@"
"""
_GROUP: Final = "  - {{ name: g{number}, gpus: [], num_parallel: {slots}, keep_alive: KEEP }}\n"


class ChangedFleet:
    """A running fleet, its files, and its processes."""

    def __init__(self, running: TemporaryFleet, folder: Path) -> None:
        self.running, self._folder = running, folder
        self._directories = Directories.find(running.environ)

    def replace_program(self, version: str) -> None:
        """Put another one in the place of the program, in one step, as a package manager does."""
        write_program(self._folder, version)

    def write_config(self, keep_alive: str, *, first: str = "") -> None:
        """Have all instances, or the `first` one otherwise, keep models so long."""
        write_config(self._folder, keep_alive, first=first)

    def pid(self) -> int:
        """Of the fleet's process, also when it has just died."""
        return int(self._directories.lock.read_text() or 0)

    def children(self) -> list[psutil.Process]:
        """The instances' processes, runners and all."""
        return [p for p in psutil.process_iter() if _works_in(p, str(self._folder / "models"))]

    def kill(self) -> int:
        """SIGKILL to the fleet; return its pid when it is gone."""
        pid = self.pid()
        os.kill(pid, signal.SIGKILL)
        with suppress(psutil.NoSuchProcess):
            psutil.Process(pid).wait(10)
        return pid

    def up(self) -> int:
        """`fleet up` again, as a user would; its exit code."""
        listen = self.running.url.removeprefix("http://")
        return self.run("up", "-d", "--wait", "--quiet", "--listen", listen).returncode

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run `fleet` to its end."""
        return subprocess.run(
            self.running.command(*arguments),
            cwd=self.running.directory,
            env=self.running.environ,
            capture_output=True,
            text=True,
            check=False,
        )


@contextmanager
def changed_fleet(environ: Mapping[str, str]) -> Iterator[ChangedFleet]:
    """The fleet, up; on leaving it is stopped and its folders are gone. Raises FleetError."""
    with tempfile.TemporaryDirectory(prefix="fleet-changes-") as name:
        folder = Path(name)
        write_program(folder, OLD)
        write_config(folder, "30m")
        store = Store(folder / "models")
        store.create_directories()
        install_profile(store, load(str(folder / f"{OLD}.yaml")))
        variables = {"FLEET_CONFIG": str(folder / "fleet.yaml"), "OLLAMA_SIM_RUNNER": "1"}
        with TemporaryFleet(Stage("", "", variables), environ, quiet=True) as running:
            yield ChangedFleet(running, folder)


def write_program(folder: Path, version: str) -> None:
    """Write a program of that version, and put it in the place of the one that is there."""
    profile, fresh = folder / f"{version}.yaml", folder / "ollama.new"
    profile.write_text(_PROFILE.replace("VERSION", version))
    fresh.write_text(_PROGRAM.format(profile=profile, python=sys.executable))
    fresh.chmod(0o755)
    fresh.rename(folder / "ollama")


def write_config(folder: Path, keep_alive: str, *, first: str = "") -> None:
    """Write fleet.yaml: four groups that keep models so long, the `first` otherwise if it says."""
    keeps = [first or keep_alive, *[keep_alive] * (INSTANCES - 1)]
    groups = [
        _GROUP.format(number=number, slots=_SLOTS).replace("KEEP", keep)
        for number, keep in enumerate(keeps)
    ]
    ollama = f"ollama: {{ binary: {folder / 'ollama'}, models: {folder / 'models'} }}\n"
    models = f'models:\n  "{MODEL}": {{ preload: true }}\n'
    (folder / "fleet.yaml").write_text(f"{ollama}groups:\n{''.join(groups)}{models}")


def gone_within_s(processes: list[psutil.Process], latest_s: float) -> float | None:
    """How long it takes until all have ended; None if longer than that."""
    began_s = time.monotonic()
    while time.monotonic() < began_s + latest_s:
        if not any(map(_lives, processes)):
            return time.monotonic() - began_s
        time.sleep(0.002)
    return None


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _works_in(process: psutil.Process, store: str) -> bool:
    with suppress(psutil.Error, OSError):
        models = process.environ().get("OLLAMA_MODELS", "")
        return models == store and process.status() != psutil.STATUS_ZOMBIE
    return False
