"""One simulated fleet for all client tests: four unequal instances behind the real front."""

import pytest
from served_fleet import SCALE, ServedFleet


@pytest.fixture(scope="session")
def fleet(tmp_path_factory):
    """A running simulated fleet; three of its models chat, two of them call tools, one embeds."""
    made = ServedFleet(tmp_path_factory.mktemp("fleet"), **SCALE, OLLAMA_SIM_FAULTS="")
    made.run("up", "-d", "--wait", "--simulate", "4-mixed")
    yield made
    made.run("down")


@pytest.fixture
def broken_fleet(fleet):
    """The same fleet; whatever faults a test scripts are gone behind it."""
    yield fleet
    fleet.strike("")
