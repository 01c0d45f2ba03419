"""One simulated fleet for all client tests: four unequal instances behind the real front."""

import pytest
from fleet_process import FleetProcess


@pytest.fixture(scope="session")
def fleet(tmp_path_factory):
    """The base URL of a running simulated fleet."""
    made = FleetProcess(tmp_path_factory.mktemp("fleet"), OLLAMA_SIM_TIME_SCALE="50")
    made.run("up", "-d", "--wait", "--simulate", "4-mixed")
    yield made.base
    made.run("down")
