"""What `fleet init` writes for GPUs that are not plain cards."""

import pytest

from ollama_fleet.gpu import Gpu, GpuKind, Inventory, Vendor
from ollama_fleet.layout import starter

_CARD = Gpu("c", 0, "card", Vendor.NVIDIA, 2**34)
_SLICES = tuple(
    Gpu(f"s{n}", n, "part", Vendor.NVIDIA, 2**33, kind=GpuKind.SLICE, parent_uuid="p")
    for n in (1, 2)
)
_VIRTUAL = Gpu("v", 3, "share", Vendor.NVIDIA, 2**33, kind=GpuKind.VIRTUAL)
_INTEGRATED = Gpu("i", 4, "chip", Vendor.NVIDIA, 2**35, kind=GpuKind.INTEGRATED)


@pytest.mark.parametrize(
    ("gpus", "there"),
    [
        ((_CARD, *_SLICES, _VIRTUAL, _INTEGRATED), "cs"),
        ((_VIRTUAL, _INTEGRATED), "v"),
        ((_INTEGRATED,), "i"),
    ],
)
def test_lesser_gpus_are_left_out_beside_others(gpus, there):
    """As `gpus: auto` has it."""
    text = starter(Inventory(gpus), ())
    named = {gpu.uuid[0] for gpu in gpus if f"{gpu.index} = {gpu.uuid}" in text}
    assert named == set(there)


def test_nobody_is_told_to_put_an_instance_over_slices():
    text = starter(Inventory((_CARD, *_SLICES)), ())
    assert "count: 2 # an instance on each; none sees two slices" in text
    assert "over all" not in text
