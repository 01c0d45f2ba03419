"""What is prepared before anything is started."""

import os
import socket

import pytest

from ollama_fleet.config import load
from ollama_fleet.directories import Directories
from ollama_fleet.errors import PortTaken
from ollama_fleet.fleet.prepare import prepare, require_startable


@pytest.fixture
def taken_port():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def test_a_plan_may_name_ports_that_are_taken_a_start_may_not(tmp_path, taken_port):
    """So `fleet plan` answers while the very fleet runs that it plans."""
    (tmp_path / "fleet.yaml").write_text(
        f"instance_ports: {taken_port}\ngroups: [{{ name: a, gpus: [0] }}]\n"
    )
    environ = {"HOME": str(tmp_path), "FLEET_STATE_DIR": str(tmp_path / "state")}
    loaded = load(None, environ=environ, cwd=tmp_path, overrides={})
    directories = Directories.find(environ)
    directories.create()
    plan = prepare(loaded, directories=directories, environ=environ, simulate="4-mixed")
    assert [spec.port for spec in plan.placement.instances] == [taken_port]
    with pytest.raises(PortTaken, match=rf"port {taken_port}.*a.*is taken by pid {os.getpid()}"):
        require_startable(plan)
