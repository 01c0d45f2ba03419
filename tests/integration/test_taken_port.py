"""`fleet up` on a port that somebody else has: refused before a fleet is as much as imported."""

import os
import socket
import subprocess
import sys

import pytest

from ollama_fleet.cli.commands.up import _refuse_early
from ollama_fleet.config import load
from ollama_fleet.directories import Directories
from ollama_fleet.errors import Exit, PortTaken


@pytest.fixture
def taken():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_who_holds_the_port_is_told_before_what_is_heavy_is_imported(tmp_path, taken):
    """The imports take longer than all else that a start does until then."""
    command = [sys.executable, "-X", "importtime", "-m", "ollama_fleet"]
    done = subprocess.run(
        [*command, "up", "--no-tui", "--simulate", "--listen", taken],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "FLEET_STATE_DIR": str(tmp_path / "state")},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stderr.splitlines()
    imported = {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time")}
    said = [line for line in lines if line.startswith("fleet: ")]
    assert done.returncode == Exit.CONFIG, done.stderr
    assert said[0].startswith(f"fleet: {taken} is taken by pid {os.getpid()} ")
    assert "ollama_fleet.control.ports" in imported
    assert not imported & {"aiohttp", "prometheus_client", "ollama_fleet.fleet"}
    assert not (tmp_path / "state").exists()


def test_what_a_killed_fleet_has_left_is_ended_before_a_port_counts_as_taken(tmp_path, taken):
    """So whoever starts a fleet again on the port of an instance that is left is not refused."""
    loaded = load(None, environ={}, cwd=tmp_path, overrides={"listen": taken})
    directories = Directories(tmp_path / "state", tmp_path / "control.sock")
    with pytest.raises(PortTaken):
        _refuse_early(loaded, directories)
    directories.runs.mkdir(parents=True)
    (directories.runs / "gpu-0.run.json").touch()
    _refuse_early(loaded, directories)
