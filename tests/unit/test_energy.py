"""Energy: power readings integrated, and shared among the instances of a GPU."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.gpu import GpuReading, GpuSample
from ollama_fleet.history.energy import _KEPT, GAP_S, Energy

powers = st.lists(st.floats(0, 700), min_size=2, max_size=40)
moments = st.floats(0, 1)


def sample(**power_w):
    return GpuSample(tuple(GpuReading(uuid, power_w=watts) for uuid, watts in power_w.items()))


def read(energy, *watts, every_s=2.0, worked=None):
    for n, power_w in enumerate(watts):
        energy.learn(sample(a=power_w), worked or {}, 100.0 + n * every_s)
    return 100.0 + (len(watts) - 1) * every_s


def test_a_steady_power_is_watts_by_seconds():
    energy = Energy({"i": ("a",)})
    read(energy, 300.0, 300.0, 300.0)
    assert energy.drawn_j("i", 101.0, 103.0) == pytest.approx(600.0)


def test_between_two_readings_the_power_is_their_mean():
    energy = Energy({"i": ("a",)})
    read(energy, 100.0, 300.0)
    assert energy.drawn_j("i", 100.0, 102.0) == pytest.approx(400.0)


def test_after_the_last_reading_it_draws_as_it_read():
    energy = Energy({"i": ("a",)})
    end_s = read(energy, 100.0, 300.0)
    assert energy.drawn_j("i", end_s, end_s + 1.5) == pytest.approx(450.0)


@given(powers, st.tuples(moments, moments, moments))
def test_what_is_drawn_adds_up_whatever_it_is_cut_into(watts, cuts):
    energy = Energy({"i": ("a",)})
    end_s = read(energy, *watts)
    first, middle, last = (100.0 + cut * (end_s - 100.0) for cut in sorted(cuts))
    whole = energy.drawn_j("i", first, last)
    parts = energy.drawn_j("i", first, middle) + energy.drawn_j("i", middle, last)
    assert whole == pytest.approx(parts, abs=1e-6)
    assert whole <= max(watts) * (last - first) + 1e-6


def test_nothing_is_made_up_where_nobody_measured():
    energy = Energy({"i": ("a",), "cpu": (), "b": ("a", "dark")})
    assert energy.drawn_j("i", 100.0, 101.0) is None
    end_s = read(energy, 100.0, 100.0)
    energy.learn(sample(a=100.0, dark=None), {}, end_s + 1)
    assert energy.drawn_j("cpu", 100.0, 101.0) is None
    assert energy.drawn_j("b", 100.0, 101.0) is None, "one of its GPUs tells nothing"
    assert energy.drawn_j("i", 99.0, 101.0) is None, "before the first reading"
    assert energy.drawn_j("i", 101.0, end_s + 2 + GAP_S) is None, "long after the last"


def test_over_a_gap_nobody_knows_what_was_drawn():
    energy = Energy({"i": ("a",)})
    end_s = read(energy, 100.0, 100.0)
    energy.learn(sample(a=100.0), {}, end_s + GAP_S + 1)
    assert energy.drawn_j("i", 101.0, end_s + GAP_S + 1) is None
    assert energy.drawn_j("i", end_s + GAP_S + 1, end_s + GAP_S + 2) == pytest.approx(100.0)


@given(st.floats(0, 50), st.floats(0, 50))
def test_what_instances_share_of_a_gpu_is_all_that_it_drew(one_s, other_s):
    """By the slot-seconds that each has worked; in equal parts where none has."""
    energy = Energy({"i": ("a",), "j": ("a",)})
    energy.learn(sample(a=200.0), {"i": 5.0, "j": 7.0}, 100.0)
    energy.learn(sample(a=200.0), {"i": 5.0 + one_s, "j": 7.0 + other_s}, 102.0)
    mine, theirs = (energy.drawn_j(name, 100.0, 102.0) for name in "ij")
    assert mine + theirs == pytest.approx(400.0)
    if one_s + other_s > 1e-3:
        assert mine == pytest.approx(400.0 * one_s / (one_s + other_s), abs=0.5)


def test_an_instance_has_the_power_of_all_its_gpus():
    energy = Energy({"i": ("a", "b")})
    for now_s in (100.0, 102.0):
        energy.learn(sample(a=200.0, b=100.0), {}, now_s)
    assert energy.drawn_j("i", 100.0, 102.0) == pytest.approx(600.0)


def test_old_readings_make_room():
    energy = Energy({"i": ("a",)})
    end_s = read(energy, *[100.0] * (2 * _KEPT + 5))
    assert len(energy._curves["i"].at_s) < 2 * _KEPT
    assert energy.drawn_j("i", 100.0, end_s) is None
    assert energy.drawn_j("i", end_s - 100, end_s) == pytest.approx(10_000.0)
