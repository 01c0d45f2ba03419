"""What a running simulated Ollama tells of its GPUs."""

import pytest
from test_sim_server import DEADLINE_S, SimServer, eventually, tokens

from ollama_fleet.sim.hardware import SimulatedGpus
from ollama_fleet.sim.ollama.profile import load


@pytest.fixture
def sim(tmp_path):
    with SimServer(tmp_path) as server:
        yield server


class TestHardware:
    def test_memory_and_work_are_told_and_the_file_goes_at_exit(self, sim):
        gpus = SimulatedGpus(load(str(sim.profile)), sim.hardware)

        def reading():
            return gpus.read().readings[0]

        assert reading().memory_used_bytes == 0
        body = {"model": "a:1b", "prompt": "x", "options": tokens(10_000)}
        with sim.send("POST", "/api/generate", body) as stream:
            stream.recv(1)
            eventually(lambda: reading().memory_used_bytes == 4_000_000)
            eventually(lambda: reading().utilisation_ratio == 0.5)
        eventually(lambda: reading().utilisation_ratio == 0.0)
        assert reading().pids == (sim.process.pid,)
        sim.process.terminate()
        sim.process.wait(DEADLINE_S)
        assert list(sim.hardware.iterdir()) == []

    def test_a_killed_server_leaves_a_file_that_does_not_count(self, sim):
        sim.generate()
        sim.process.kill()
        sim.process.wait(DEADLINE_S)
        assert list(sim.hardware.iterdir())
        gpus = SimulatedGpus(load(str(sim.profile)), sim.hardware)
        assert gpus.read().readings[0].memory_used_bytes == 0
