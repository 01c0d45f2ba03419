"""A fleet takes the place of a real Ollama, and gives it back by what the file says."""

import os
import subprocess
import sys
from contextlib import contextmanager

import pytest
from fleet_process import FleetProcess, call, until
from made_store import put_model
from real_ollama import answers

from ollama_fleet.bench.ports import free_port

pytestmark = [pytest.mark.real, pytest.mark.timeout(240)]

INIT = """\
import sys
from ollama_fleet.cli import run
from ollama_fleet.control import service

pid, all_servers = int(sys.argv[1]), service.servers
service.servers = lambda ours: (each for each in all_servers(ours) if each.pid == pid)
sys.exit(run(sys.argv[2:]))
"""
"""Others that run on this machine are none of the test's business."""


@contextmanager
def started(command, environment, base):
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, env=environment, **silent) as server:
        try:
            until(lambda: answers(base), what="the server")
            yield server
        finally:
            server.kill()


def models(base):
    return [model["name"] for model in call(f"{base}/api/tags")["models"]]


def test_a_real_server_is_replaced_on_all_its_addresses_and_comes_back_as_it_was(ollama, tmp_path):
    """With OLLAMA_HOST=0.0.0.0 it listens on `::`, as Go has it, for both families."""
    put_model(tmp_path / "theirs", "tiny/latest", b"weights")
    fleet = FleetProcess(tmp_path, PATH=f"{os.path.dirname(ollama)}:{os.environ['PATH']}")  # noqa: PTH120 - a path as text
    del fleet.environment["FLEET_LISTEN"]
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    given = {"OLLAMA_HOST": f"0.0.0.0:{port}", "OLLAMA_MODELS": str(tmp_path / "theirs")}
    with started([ollama, "serve"], fleet.environment | given, base) as server:
        assert models(base) == ["tiny:latest"]
        taking = ("init", "--service", "take-over", "--yes")
        done = subprocess.run(
            [sys.executable, "-c", INIT, str(server.pid), *taking],
            env=fleet.environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert server.wait(20) is not None
    assert fleet.run("up", "-d", check=False).returncode == 78, "others can reach it: it wants keys"
    fleet.run("up", "-d", "--wait", "--insecure-no-auth")
    try:
        assert models(base) == ["tiny:latest"]
        if os.path.exists("/proc/net/if_inet6"):  # noqa: PTH110 - a file of the kernel's
            assert models(f"http://[::1]:{port}") == ["tiny:latest"]
    finally:
        fleet.run("down", "--now")
    undo = fleet.config.read_text().partition("as it was started: ")[2].partition("\n")[0]
    with started(["sh", "-c", f"exec env {undo}"], fleet.environment, base):
        assert models(base) == ["tiny:latest"]
