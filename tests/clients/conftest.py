"""One simulated fleet for all client tests: four unequal instances behind the real front."""

import os
import socket
import subprocess
import sys

import pytest


@pytest.fixture(scope="session")
def fleet(tmp_path_factory):
    """The base URL of a running simulated fleet."""
    folder = tmp_path_factory.mktemp("fleet")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "FLEET_STATE_DIR": str(folder / "state"),
        "OLLAMA_SIM_TIME_SCALE": "50",
    }

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "ollama_fleet", *arguments],
            env=environment,
            cwd=folder,
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout

    run("up", "-d", "--wait", "--simulate", "4-mixed", "--listen", f"127.0.0.1:{port}")
    yield f"http://127.0.0.1:{port}"
    run("down")
