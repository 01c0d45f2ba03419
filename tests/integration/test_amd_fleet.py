"""Whole programs on the AMD cards of a tree of files: what their users see.

The trees are written after the kernel's documentation; no such card was at hand.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from amd_trees import BOXES, GIB, write
from fleet_process import FleetProcess, until
from nvml_fixtures import Driver, library, uuid

from ollama_fleet.errors import FleetError

__all__ = ["library"]

PROGRAM = Path(__file__).with_name("amd_program.py")
CONFIG = """
ollama: {{ binary: {program}, models: {folder}/models }}
groups:
  - {{ name: card, gpus: auto }}
  - {{ name: cpu, gpus: [] }}
supervision: {{ probe_timeout: 2s, probe_interval: 200ms }}
"""


class AmdBox(FleetProcess):
    """A machine with such cards: an instance on each, and one on the CPU."""

    def __init__(self, folder: Path, box: str, **environment: str) -> None:
        self.root = folder / "machine"
        write(self.root, BOXES[box]())
        program = folder / "ollama"
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m ollama_fleet.sim.ollama "$@"\n')
        program.chmod(0o755)
        super().__init__(
            folder,
            config=CONFIG.format(program=program, folder=folder),
            PYTHONPATH=str(Path(__file__).parents[1]),
            **environment,
        )

    def begin(self, *arguments: str, stdout: int) -> subprocess.Popen[str]:
        """Start a command of `fleet` on that machine."""
        return subprocess.Popen(
            [sys.executable, str(PROGRAM), str(self.root), *arguments],
            env=self.environment,
            cwd=self.folder,
            stdout=stdout,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def told(self, *arguments: str) -> str:
        """What a command prints."""
        with self.begin(*arguments, stdout=subprocess.PIPE) as command:
            out, _ = command.communicate(timeout=60)
        return out


def test_plan_shows_the_cards_why_they_are_where_they_are_and_what_rocm_is_told(tmp_path):
    box = AmdBox(tmp_path, "a laptop")
    shown = box.told("plan", "-o", "wide")
    assert "AMD Radeon RX 7600M XT, 8.0 GiB" in shown
    assert "ROCR_VISIBLE_DEVICES=GPU-00c0ffee00000001" in shown
    assert "AMD Radeon 780M, 15.0 GiB) is integrated and stays idle" in shown
    assert "NVIDIA" not in shown


def test_beside_nvidia_s_cards_each_vendor_s_runtime_is_told_of_its_own_alone(library, tmp_path):
    driver = Driver(tmp_path)
    driver.becomes(cards=2)
    box = AmdBox(tmp_path, "a card without unique id", **driver.environment(library))
    plan = json.loads(box.told("plan", "-o", "json"))
    assert [gpu["vendor"] for gpu in plan["gpus"]] == ["nvidia", "nvidia", "amd", "amd"]
    told = [
        tuple(each["environment"][f"{name}_VISIBLE_DEVICES"] for name in ("CUDA", "ROCR", "HIP"))
        for each in plan["instances"]
    ]
    assert told == [
        (uuid(0), "-1", "-1"),
        (uuid(1), "-1", "-1"),
        ("-1", "GPU-0000000000001234", "0"),
        ("-1", "1", "0"),
        ("-1", "-1", "-1"),
    ]


def test_init_writes_a_file_for_the_cards_and_doctor_judges_them(tmp_path):
    box = AmdBox(tmp_path, "4 x MI300X")
    (tmp_path / "lib/ollama").mkdir(parents=True)
    assert "GPU 3: AMD Instinct MI300X, 192.0 GiB" in box.told("init", "new.yaml")
    assert "4 x AMD Instinct MI300X, 192.0 GiB each" in (tmp_path / "new.yaml").read_text()
    checks = {c["name"]: c for c in json.loads(box.told("doctor", "-o", "json"))["checks"]}
    assert checks["gpus"]["status"] == "ok"
    assert checks["gpus"]["detail"].startswith("0 = AMD Instinct MI300X, 1 = ")
    assert checks["rocm"]["status"] == "warn"
    assert f"no ROCm library in {tmp_path / 'lib/ollama'}" in checks["rocm"]["detail"]


@pytest.fixture
def running(tmp_path):
    """A fleet on two cards."""
    box = AmdBox(tmp_path, "2 x RX 7900 XTX")
    with box.begin("up", stdout=subprocess.DEVNULL) as fleet:
        try:
            until(lambda: _all_are_ready(box), seconds=60, what="the instances")
            yield box
        finally:
            box.run("down", "--now", check=False)
            fleet.kill()


def _all_are_ready(box: AmdBox) -> bool:
    try:
        instances = box.instances().values()
    except FleetError:
        return False  # it is not up yet
    return bool(instances) and all(each["phase"] == "ready" for each in instances)


def _read(told: dict) -> list[dict]:
    """The cards, once each has been read and nothing is amiss: a busy machine may miss a turn."""
    cards = told["gpus"]
    whole = all(card["temperature_c"] is not None for card in cards)
    return cards if whole and not told["gpu_error"] else []


def test_a_fleet_shows_the_readings_and_drains_the_instance_of_a_card_that_is_gone(running):
    """Temperature, load and memory of each card; a card pulled out is named, and comes back."""
    one, two = until(lambda: _read(running.status()), what="a reading of each")
    assert (one["name"], one["temperature_c"], one["power_w"]) == (
        "AMD Radeon RX 7900 XTX", 45.0, 31.0,
    )  # fmt: skip
    assert (two["utilisation_ratio"], two["memory_used_bytes"]) == (0.07, 3 * GIB // 2)
    assert "RX 7900" in running.run("top").stdout
    device = (running.root / "sys/bus/pci/devices/0000:07:00.0").resolve()
    shutil.move(device, running.root / "away")

    def out():
        drains = {name: each["drain"] for name, each in running.instances().items()}
        return {name: why for name, why in drains.items() if why is not None}

    drained = until(lambda: list(found := out()) == ["card-1"] and found, what="the loss")
    assert "is not there any more" in drained["card-1"]
    shutil.move(running.root / "away", device)
    until(lambda: not out(), what="its return")
