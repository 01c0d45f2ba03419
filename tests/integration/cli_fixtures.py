"""The command line as its users run it: whole processes, each in a state directory of its own."""

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ollama_fleet.bench.ports import free_port
from ollama_fleet.cli.control import Control
from ollama_fleet.directories import Directories
from ollama_fleet.errors import FleetError

PROFILE = """\
name: box
description: two small GPUs and an empty store
version: 0.30.0
registry_bytes_per_s: 20MB
nodes:
  - &card
    gpu: { name: Simulated 8GB, memory: 8GB }
    slots: 2
    prefill_tokens_per_s: 1000
    decode_base_s: 0.02
    decode_per_busy_s: 0.01
    load_bytes_per_s: 1GB
  - *card
cpu:
  slots: 1
  prefill_tokens_per_s: 80
  decode_base_s: 0.09
  decode_per_busy_s: 0.06
  load_bytes_per_s: 500MB
models:
  - { name: tiny, size: 1MB, parameter_size: 453K, quantization: F16, family: llama }
  - { name: huge, size: 40GB, parameter_size: 70B, quantization: Q4_K_M, family: llama }
installed: []
outputs: { median_tokens: 20, sigma: 0.5, max_tokens: 100 }
"""
FLEET = (sys.executable, "-m", "ollama_fleet")
WAIT_S = 90.0


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str


class Cli:
    """Runs `fleet` in a folder without a fleet.yaml, on ports that no other test uses."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.port = free_port(4)
        (folder / "box.yaml").write_text(PROFILE)
        self.environ = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("FLEET_", "OLLAMA_"))},
            "FLEET_STATE_DIR": str(self.state),
            "FLEET_INSTANCE_PORTS": str(self.port + 1),
            "FLEET_SUPERVISION__DRAIN_TIMEOUT": "2s",
            "OLLAMA_SIM_TIME_SCALE": "50",
        }

    @property
    def up(self) -> tuple[str, ...]:
        """A simulated fleet of gpu-0 and gpu-1 on our port."""
        return ("up", "--simulate", "box.yaml", "--listen", f"127.0.0.1:{self.port}")

    def run(self, *arguments: str, timeout_s: float = WAIT_S, **environ: str) -> Done:
        """Run a command to its end."""
        done = subprocess.run(
            [*FLEET, *arguments],
            cwd=self.folder,
            env={**self.environ, **environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str, **attributes) -> subprocess.Popen:
        """Start a command and return at once."""
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(
            [*FLEET, *arguments], cwd=self.folder, env=self.environ, **(pipes | attributes)
        )

    @contextmanager
    def running(self, *arguments: str, **attributes):
        """Start a command that does not outlive the block, however that ends."""
        process = self.start(*arguments, **attributes)
        with process:
            try:
                yield process
            finally:
                process.kill()

    def status(self) -> dict:
        """The snapshot of the fleet, which must be running."""
        return Control(Directories.find(self.environ)).status()

    def is_up(self) -> bool:
        """Whether there is a fleet and all its instances serve."""
        try:
            return all(i["phase"] == "ready" for i in self.status()["instances"])
        except FleetError:
            return False

    def end(self) -> None:
        """Stop the fleet if there is one, by all means."""
        if self.run("down", "--now", "--timeout", "20s").code not in {0, 69}:
            os.kill(int((self.state / "lock").read_text()), 9)


def until(condition, what: str, timeout_s: float = WAIT_S):
    """Wait for a condition and return its value; fail with `what` when it does not come."""
    end_s = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < end_s, f"not in {timeout_s} s: {what}"
        time.sleep(0.05)
    return value
