"""How long a simulated Ollama bears with a registry."""

import pytest

from ollama_fleet.sim.ollama.remote.blob import LEAST_PATIENCE_S, Pace


def test_at_the_pace_of_life_its_times_are_ollamas():
    assert Pace.scaled(1) == Pace(look_s=1, again_s=1, stall_s=30, address_s=30)


@pytest.mark.parametrize("scale", [2, 50, 1000])
def test_what_is_its_own_is_faster_and_a_registry_is_borne_with_though_it_is_busy(scale):
    pace = Pace.scaled(scale)
    assert pace.look_s == pace.again_s == 1 / scale
    assert pace.stall_s == pace.address_s == max(30 / scale, LEAST_PATIENCE_S)
