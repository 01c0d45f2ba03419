"""A fleet on NVIDIA cards that get lost: who is left out, who serves on, and who comes back.

The driver is the stand-in, the instances are simulated servers that take its cards for theirs.
"""

import json
import sys

import pytest
from fleet_process import FleetProcess, until
from nvml_fixtures import Driver, library, slice_uuid

__all__ = ["library"]

CONFIG = """
ollama: {{ binary: {program}, models: {folder}/models }}
groups:
  - {{ name: card, gpus: auto }}
  - {{ name: cpu, gpus: [] }}
supervision: {{ probe_timeout: 2s, probe_interval: 200ms }}
"""


class Box(FleetProcess):
    """A machine whose GPUs have an instance each, and one on the CPU."""

    def __init__(self, folder, library, *rules, cards=3):
        program = folder / "ollama"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m ollama_fleet.sim.ollama "$@"\n')
        program.chmod(0o755)
        self.driver = Driver(folder)
        self.driver.becomes(*rules, cards=cards)
        super().__init__(
            folder,
            config=CONFIG.format(program=program, folder=folder),
            **self.driver.environment(library),
        )

    def out(self):
        """Those out of rotation, each with the reason."""
        instances = self.instances().items()
        return {name: i["drain"] for name, i in instances if i["drain"] is not None}

    def temperatures(self):
        """What the last round of readings has told, by index."""
        return {gpu["index"]: gpu["temperature_c"] for gpu in self.status()["gpus"]}

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
    until(lambda: box.temperatures() == {0: 40, 1: None, 2: 42}, what="the readings of the others")
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


def test_a_slice_is_lost_by_itself_and_with_its_card(tmp_path, library):
    """One that is destroyed takes its own instance out; the heat of their card is told once.

    One that is made anew is told of, and nothing is restarted for it.
    """
    slices = [f"slice 2 {n} 0 9728" for n in (1, 2, 3)]
    mode = "mig 2 1 1"
    box = Box(tmp_path, library, mode, *slices)
    box.run("up", "-d", "--wait")
    try:
        names = {gpu["uuid"]: gpu["index"] for gpu in box.status()["gpus"]}
        assert [names[slice_uuid(2, n)] for n in (1, 2, 3)] == [3, 4, 5]
        assert sorted(box.instances()) == ["card-0", "card-1", "card-2", "card-3", "card-4", "cpu"]
        until(lambda: "gpu_hot" in box.kinds(), what="the heat")
        box.driver.becomes(mode, slices[0], slices[2])
        until(lambda: list(box.out()) == ["card-3"], what="the loss of a slice")
        assert slice_uuid(2, 2) in box.out()["card-3"]
        box.driver.becomes("* 2 15", mode, *slices)
        until(lambda: list(box.out()) == ["card-2", "card-3", "card-4"], what="the card's loss")
        box.driver.becomes(mode, *slices)
        until(lambda: not box.out(), what="their return")
        assert box.kinds().count("gpu_hot") == 1
        before = {name: i["pid"] for name, i in box.instances().items()}
        box.driver.becomes(mode, *slices, "slice 2 4 0 9728")
        until(lambda: "gpu_changed" in box.kinds(), what="news of a slice that was made")
        news = f"that the fleet does not know: {slice_uuid(2, 4)}"
        until(lambda: news in box.run("status").stdout, what="a line of status")
        found = f"the fleet that runs does not know GPU 6 ({slice_uuid(2, 4)})"
        until(lambda: found in box.run("doctor", check=False).stdout, what="a finding of doctor")
        box.driver.becomes(mode, *slices)
        until(lambda: "gpu_restored" in box.kinds(), what="news that it is no more")
        assert news not in box.run("status").stdout
        assert {name: i["pid"] for name, i in box.instances().items()} == before
    finally:
        box.driver.becomes(mode, *slices)
        box.run("down", "--now", check=False)
