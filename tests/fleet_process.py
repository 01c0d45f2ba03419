"""A fleet as its users run it: a background process, driven by `fleet` and by its port."""

import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import aiohttp

from ollama_fleet.bench.ports import free_port
from ollama_fleet.cli.control import Control
from ollama_fleet.directories import Directories


def until(check, *, seconds=60.0, what="it"):
    """Poll a condition against a deadline; its first true value."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if value := check():
            return value
        time.sleep(0.02)
    raise AssertionError(f"{what} did not come true within {seconds:g} s")


def call(url, body=None, *, method=None, timeout=60):
    """Call an API; the JSON of its answer (None if it is empty)."""
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    request = urllib.request.Request(url, data, method=method)
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        raw = answer.read()
    return json.loads(raw) if raw else None


class FleetProcess:
    """One fleet with a state directory, a port and, if `config` is given, a fleet.yaml.

    What is off unless somebody turns it on, making models and publishing them, is on.
    """

    def __init__(self, folder: Path, *, config: str | None = None, **environment: str):
        self.folder = folder
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.base = f"http://{self.address}"
        self.config = folder / "fleet.yaml"
        if config is not None:
            self.config.write_text(f"listen: {self.address}\n{config}")
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "FLEET_STATE_DIR": str(folder / "state"),
            "FLEET_LISTEN": self.address,
            "FLEET_AUTH__CREATE": "true",
            "FLEET_AUTH__PUSH": "true",
            **environment,
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a `fleet` command without waiting for it."""
        return subprocess.Popen(
            [sys.executable, "-m", "ollama_fleet", *arguments],
            env=self.environment,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, check=True, timeout=120) -> subprocess.CompletedProcess[str]:
        """Run a `fleet` command to its end."""
        done = subprocess.run(
            [sys.executable, "-m", "ollama_fleet", *arguments],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check:
            assert done.returncode == 0, done.stderr + done.stdout
        return done

    def status(self) -> dict:
        return Control(Directories.find(self.environment)).status()

    def instances(self) -> dict[str, dict]:
        return {i["name"]: i for i in self.status()["instances"]}

    def pid(self) -> int:
        return int((self.folder / "state" / "lock").read_text())


async def ask(session, base, model, *, tokens):
    """One streamed /api/generate: how it ended (whole, broken, refused, failed) and what was said.

    `failed` means that not one byte of an answer came, `broken` that it ended with an error record.
    """
    body = {"model": model, "prompt": "tell me", "options": {"num_predict": tokens}}
    got = b""
    try:
        async with session.post(f"{base}/api/generate", json=body) as answer:
            if answer.status != 200:
                return "refused", f"{answer.status} {await answer.text()}"
            async for piece in answer.content.iter_any():
                got += piece
    except aiohttp.ClientError as error:
        return ("lost" if got else "failed"), str(error)
    last = json.loads(got.splitlines()[-1])
    return ("whole" if last.get("done") else "broken"), last.get("error", "")
