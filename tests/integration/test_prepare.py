"""What is prepared before anything is started."""

import os
import socket
from importlib.resources import files
from itertools import count

import pytest

from ollama_fleet.config import Config, load
from ollama_fleet.directories import Directories
from ollama_fleet.errors import PortTaken
from ollama_fleet.fleet.prepare import prepare, require_startable
from ollama_fleet.placement import Models, place


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


@pytest.mark.parametrize("cards", [1, 2])
def test_a_simulated_box_without_a_file_names_its_instances_as_a_real_one_does(tmp_path, cards):
    """What was learned of them by name, and whatever names them, holds for both."""
    two = (files("ollama_fleet.sim.profiles") / "2x24GB.yaml").read_text()
    box = tmp_path / "box.yaml"
    box.write_text(two if cards == 2 else two.replace("  - *card\n", ""))
    environ = {"HOME": str(tmp_path), "FLEET_STATE_DIR": str(tmp_path / "state")}
    loaded = load(None, environ=environ, cwd=tmp_path, overrides={})
    directories = Directories.find(environ)
    directories.create()
    simulated = prepare(loaded, directories=directories, environ=environ, simulate=str(box))
    real = place(Config(), simulated.inventory, ports=count(1), inherited={}, models=Models())
    names = [spec.name for spec in simulated.placement.instances]
    assert names == [spec.name for spec in real.instances]
    assert len(names) == cards
