"""The variables for AMD's cards as a real Ollama takes them. There is no such card here."""

import re
import subprocess
from pathlib import Path

import pytest
from amd_trees import BOXES, source
from fleet_process import until

from ollama_fleet.bench.ports import free_port
from ollama_fleet.config import Settings
from ollama_fleet.placement.environment import environment

pytestmark = pytest.mark.real

NAMES = ("ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES")


def discovery(ollama: str, folder: Path, gpus) -> str:
    """What Ollama logs until it has told what it will compute on."""
    variables = environment(
        Settings(debug=1),
        gpus,
        port=free_port(),
        store=str(folder / "models"),
        inherited={"PATH": "/usr/bin", "HOME": str(folder)},
    )
    path = folder / "log"
    with path.open("w") as log:
        process = subprocess.Popen([ollama, "serve"], env=variables, stdout=log, stderr=log)
    try:
        until(lambda: "inference compute" in path.read_text(), what="the GPUs to be discovered")
    finally:
        process.terminate()
        process.wait()
    return path.read_text()


@pytest.mark.parametrize("box", ["4 x MI300X", "a card without unique id"])
def test_ollama_hands_the_chosen_cards_on_to_its_runners(ollama, tmp_path, box):
    """Its own list is what the fleet says, and so is that of the runner that looks for GPUs.

    With none of these cards in the machine it computes on the CPU, and starts all the same.
    """
    gpus = source(tmp_path, BOXES[box]()).inventory().gpus[-2:]
    log = discovery(ollama, tmp_path, gpus)
    rocr = ",".join(gpu.visible_as or gpu.uuid for gpu in gpus)
    told = dict(re.findall(r'"user overrode visible devices" (\w+)=(\S+)', log))
    assert told == dict(zip(NAMES, (rocr, "0,1", "-1"), strict=True))
    runners = [line for line in log.splitlines() if "msg=subprocess" in line]
    assert runners
    for name, value in told.items():
        assert all(f"{name}={value}" in runner for runner in runners)
    assert "library=cpu" in log
