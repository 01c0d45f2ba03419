"""The pure parts of the NVIDIA source; the rest is tested against a library (integration)."""

from pathlib import Path

import pynvml
import pytest

from ollama_fleet.gpu.nvml.place import device
from ollama_fleet.gpu.nvml.troubles import driver_trouble


@pytest.mark.parametrize(
    ("bus_id", "name"),
    [
        ("00000000:3B:00.0", "0000:3b:00.0"),
        ("0000:0A:1F.7", "0000:0a:1f.7"),
        ("00010000:01:00.0", "10000:01:00.0"),  # domains of more than 16 bits exist
        ("", "none"),
        ("garbled", "none"),
    ],
)
def test_cards_are_found_under_the_names_that_the_kernel_gives_them(bus_id, name):
    assert device(Path("/devices"), bus_id) == Path("/devices") / name


@pytest.mark.parametrize(
    "code",
    sorted({getattr(pynvml, name) for name in dir(pynvml) if name.startswith("NVML_ERROR_")}),
)
def test_every_error_of_the_driver_has_a_cause_and_a_way_out(code):
    """A note reads `cause (what to do)`, whichever code NVML returns."""
    cause, _, way_out = driver_trouble(pynvml.NVMLError(code)).partition(" (")
    assert "NVIDIA" in cause
    assert way_out.endswith(")")


def test_a_library_that_does_not_load_keeps_the_loaders_words():
    """Only a missing file means no driver; pynvml tells the two apart by the context alone."""
    error = pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)
    opening = "libnvidia-ml.so.1: cannot open shared object file"
    error.__context__ = OSError(f"{opening}: Permission denied")
    assert "Permission denied" in driver_trouble(error)
    error.__context__ = OSError(f"{opening}: No such file or directory")
    assert driver_trouble(error).startswith("no NVIDIA driver found")
