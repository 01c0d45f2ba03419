"""Cards that are not plain ones, against a stand-in for the driver's library."""

import psutil
import pytest
from nvml_fixtures import Machine, library

__all__ = ["library"]

_MIB = 1024 * 1024
_NO_MEMORY = ("nvmlDeviceGetMemoryInfo_v2 1 3", "nvmlDeviceGetMemoryInfo 1 3")


@pytest.fixture(scope="module")
def machine(library, tmp_path_factory):
    made = Machine(tmp_path_factory.mktemp("machine"), library)
    yield made
    assert made.end() == 0


def test_a_card_that_has_no_memory_of_its_own_is_integrated_and_has_the_systems(machine):
    """As Jetson and DGX Spark: NVML supports no memory there. What it tells otherwise is kept."""
    machine.becomes("name 1 NVIDIA GB10", *_NO_MEMORY)
    answer = machine.ask("inventory")
    gpu = answer["gpus"][1]
    assert [each["kind"] for each in answer["gpus"]] == ["discrete", "integrated", "discrete"]
    assert gpu["memory_bytes"] == psutil.virtual_memory().total
    assert gpu["reserved_bytes"] == min(gpu["memory_bytes"] // 8, 4096 * _MIB)
    assert answer["remarks"] == answer["notes"]
    assert answer["notes"][0].startswith("GPU 1 (NVIDIA GB10) is integrated: it shares the system")
    reading = machine.ask("read")["readings"][1]
    assert 0 < reading["memory_used_bytes"] < gpu["memory_bytes"]
    assert reading["temperature_c"] == 41


def test_a_card_that_cannot_tell_its_memory_is_not_taken_for_integrated(machine):
    """A refusal for any other reason says nothing of what the card is; it is a trouble."""
    machine.becomes("nvmlDeviceGetMemoryInfo_v2 1 999", "nvmlDeviceGetMemoryInfo 1 999")
    answer = machine.ask("inventory")
    assert answer["gpus"][1]["kind"] == "discrete"
    assert answer["gpus"][1]["memory_bytes"] == 0
    assert "GPU 1 (NVIDIA Stand-in 1) tells no memory size" in answer["notes"][0]
    assert answer["remarks"] == []
    assert machine.ask("read")["readings"][1]["memory_used_bytes"] is None


@pytest.mark.parametrize(
    ("mode", "kind", "notes", "remarks"),
    [(0, "discrete", 0, 0), (1, "discrete", 0, 0), (2, "virtual", 1, 1), (3, "discrete", 1, 0)],
    ids=["bare metal", "passed through whole", "vGPU", "host of vGPUs"],
)
def test_a_vgpu_is_a_kind_of_its_own(machine, mode, kind, notes, remarks):
    """Only within the virtual machine; a card passed through is a card."""
    machine.becomes(f"virtual 0 {mode}", cards=1)
    answer = machine.ask("inventory")
    assert [gpu["kind"] for gpu in answer["gpus"]] == [kind]
    assert (len(answer["notes"]), len(answer["remarks"])) == (notes, remarks)
    assert all("virtual machine" in note for note in answer["notes"])


@pytest.mark.parametrize(
    ("mode", "words"), [(0, []), (2, ["no program may use it"]), (3, ["one program may use it"])]
)
def test_a_card_that_programs_may_not_share_is_a_trouble_with_its_way_out(machine, mode, words):
    machine.becomes(f"compute 1 {mode}")
    answer = machine.ask("inventory")
    assert len(answer["gpus"]) == 3
    assert answer["remarks"] == []
    assert [word in note for word, note in zip(words, answer["notes"], strict=True)] == [
        True
    ] * len(words)
    assert all("`sudo nvidia-smi -i 1 -c DEFAULT`" in note for note in answer["notes"])


def test_an_older_driver_knows_none_of_this(machine):
    """Without the calls of the last ten years a card is a card."""
    newer = [
        "nvmlDeviceGetVirtualizationMode",
        "nvmlDeviceGetMigMode",
        "nvmlDeviceGetMemoryInfo_v2",
        "nvmlDeviceGetCudaComputeCapability",
        "nvmlDeviceGetNvLinkState",
        "nvmlDeviceGetP2PStatus",
        "nvmlDeviceGetCpuAffinity",
        "nvmlDeviceGetTopologyCommonAncestor",
        "nvmlDeviceGetMaxPcieLinkGeneration",
        "nvmlDeviceGetDisplayActive",
        "nvmlDeviceGetTemperatureV",
        "nvmlDeviceGetCurrentClocksEventReasons",
        "nvmlEventSetCreate",
    ]
    machine.becomes(*(f"{call} * 13" for call in newer))
    answer = machine.ask("inventory")
    assert answer["notes"] == []
    assert [gpu["memory_bytes"] for gpu in answer["gpus"]] == [24576 * _MIB] * 3
    assert {gpu["kind"] for gpu in answer["gpus"]} == {"discrete"}
    assert [gpu["architecture"] for gpu in answer["gpus"]] == [""] * 3
    assert machine.ask("read")["error"] == ""


def test_a_garbled_name_is_no_name(machine):
    machine.becomes("name 2 garbled")
    assert machine.ask("inventory")["gpus"][2]["name"] == "NVIDIA GPU"
