"""A fleet on NVIDIA cards that get lost: who is left out, who serves on, and who comes back.

The driver is the stand-in, the instances are simulated servers that take its cards for theirs.
"""

import json
import sys

import pytest
from fleet_process import FleetProcess, until
from nvml_fixtures import Driver, library

__all__ = ["library"]

CONFIG = """
ollama: {{ binary: {program}, models: {folder}/models }}
groups:
  - {{ name: card, gpus: auto }}
  - {{ name: cpu, gpus: [] }}
supervision: {{ probe_timeout: 500ms, probe_interval: 200ms }}
"""


class Box(FleetProcess):
    """Three cards with an instance each, and one on the CPU."""

    def __init__(self, folder, library):
        program = folder / "ollama"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m ollama_fleet.sim.ollama "$@"\n')
        program.chmod(0o755)
        self.driver = Driver(folder)
        super().__init__(
            folder,
            config=CONFIG.format(program=program, folder=folder),
            **self.driver.environment(library),
        )

    def out(self):
        """Those out of rotation, each with the reason."""
        instances = self.instances().items()
        return {name: i["drain"] for name, i in instances if i["drain"] is not None}

    def kinds(self):
        told = self.run("events", "-o", "json").stdout.splitlines()
        return [json.loads(line)["kind"] for line in told]


@pytest.fixture
def box(tmp_path, library):
    made = Box(tmp_path, library)
    made.run("up", "-d", "--wait")
    yield made
    made.driver.becomes()  # a driver that hangs must not keep the fleet from ending
    made.run("down", "--now", check=False)


def test_each_way_to_lose_a_gpu_drains_its_instance_and_no_other(box):
    """Lost, a fault reported, the driver unloaded, the driver hanging; back with the readings."""
    box.driver.becomes("* 1 15")
    until(lambda: list(box.out()) == ["card-1"], what="the loss")
    assert "is lost" in box.out()["card-1"]
    shown = {gpu["index"]: gpu["temperature_c"] for gpu in box.status()["gpus"]}
    assert shown == {0: 40, 1: None, 2: 42}
    assert "gpu_lost" in box.kinds()
    box.driver.becomes()
    until(lambda: not box.out(), what="its return")
    for rule in ("nvmlInitWithFlags * 9\nnvmlDeviceGetCount_v2 * 1", "nvmlDeviceGetUUID * hang"):
        box.driver.becomes(rule)
        until(lambda: list(box.out()) == ["card-0", "card-1", "card-2"], what=rule)
        box.driver.becomes()
        until(lambda: not box.out(), what="their return")
    box.driver.becomes("xid 2 79")
    until(lambda: list(box.out()) == ["card-2"], what="the fault")
    assert "Xid 79" in box.out()["card-2"]
    log = (box.folder / "state" / "logs" / "fleet.log").read_text()
    assert "Traceback" not in log
    assert "has stopped working" not in log
