"""What is kept of a GPU for the display on it, and how Ollama is told."""

from math import inf

import pytest

from ollama_fleet.config import Settings
from ollama_fleet.gpu import Gpu, Vendor
from ollama_fleet.placement import kept
from ollama_fleet.placement.shares import room_bytes

GIB = 2**30
SHOWN = Gpu("GPU-0", 0, "card", Vendor.NVIDIA, 24 * GIB, display_active=True, reserved_bytes=GIB)
DARK = Gpu("GPU-1", 1, "card", Vendor.NVIDIA, 24 * GIB)


def room(gpu, **settings):
    return room_bytes([kept.with_kept(gpu, Settings(**settings))])


def told(*gpus, **settings):
    """What an instance's server is told, and nothing that is not."""
    chosen = Settings(**settings)
    return kept.variables(chosen, gpus) | chosen.environment()


def test_a_card_with_a_display_has_less_room_than_one_without():
    """Besides what the driver has of it."""
    assert room(SHOWN) == 22 * GIB
    assert room(DARK) == 24 * GIB


@pytest.mark.parametrize("gib", [0, 3])
def test_who_says_how_much_is_kept_has_the_word(gib):
    """Then nothing is taken off for a display; what was said is the whole of it."""
    assert room(SHOWN, gpu_overhead_bytes=gib * GIB) == (23 - gib) * GIB
    assert room(DARK, gpu_overhead_bytes=gib * GIB) == (24 - gib) * GIB
    reasons = kept.why(Settings(gpu_overhead_bytes=gib * GIB), [SHOWN])
    assert len(reasons) == (gib > 0)
    assert "display" not in "".join(reasons)
    assert kept.why(Settings(gpu_overhead_bytes=gib * GIB), []) == ()


def test_old_servers_are_told_of_a_display():
    """New ones leave as much free anyway, and must not lose the room that they add for vision."""
    assert told(DARK, SHOWN) == {"OLLAMA_GPU_OVERHEAD": str(GIB // 2)}
    assert told(DARK) == told() == {}


def test_a_wish_is_told_to_servers_of_all_versions():
    """By the variable of old ones, and by llama.cpp's with its own margin, in whole MiB."""
    assert told(DARK, gpu_overhead_bytes=GIB + 1) == {
        "OLLAMA_GPU_OVERHEAD": str(GIB + 1),
        "LLAMA_ARG_FIT_TARGET": "2049",
    }
    assert told(SHOWN, gpu_overhead_bytes=0) == {"OLLAMA_GPU_OVERHEAD": "0"}


def test_the_margin_that_somebody_sets_stays():
    wish = {"gpu_overhead_bytes": GIB, "llama_arg_fit_target_bytes": 64 * 2**20}
    assert told(SHOWN, **wish)["LLAMA_ARG_FIT_TARGET"] == "64"


def test_a_gpu_of_which_more_is_kept_than_it_has_takes_no_room_from_another():
    small = Gpu("GPU-2", 2, "card", Vendor.NVIDIA, GIB)
    gpus = [kept.with_kept(gpu, Settings(gpu_overhead_bytes=2 * GIB)) for gpu in (small, DARK)]
    assert room_bytes(gpus) == 22 * GIB


def test_a_gpu_that_takes_the_systems_memory_keeps_none():
    shared = Gpu("GPU-0", 0, "card", Vendor.AMD, 0, display_active=True)
    assert kept.with_kept(shared, Settings()) == shared
    assert room_bytes([shared, DARK]) == inf
    assert told(shared) == {}
