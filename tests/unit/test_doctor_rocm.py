"""What the doctor says of AMD's cards and of the Ollama that is to use them."""

from dataclasses import replace
from pathlib import Path

import pytest
from amd_trees import BOXES, source
from test_doctor import WELL

from ollama_fleet.doctor import checks
from ollama_fleet.doctor.backends import rocm_of
from ollama_fleet.doctor.check import Status
from ollama_fleet.doctor.facts import BinaryFacts, RocmFacts

BOX = replace(WELL, nvidia_cards=0)
BUILT = RocmFacts("/lib/ollama", ("rocm",), frozenset(("gfx942", "gfx1100", "gfx803")))


def said(folder: Path, box: str, **more):
    """The checks on ROCm of that box, with these facts besides."""
    facts = replace(BOX, inventory=source(folder, BOXES[box]()).inventory(), **more)
    return [check for check in checks(facts) if check.name == "rocm"]


def test_cards_for_which_ollama_has_code_can_be_used(tmp_path):
    (check,) = said(tmp_path, "4 x MI300X", rocm=BUILT)
    assert check.status is Status.OK
    assert check.detail == "4 AMD GPUs can be used by Ollama's rocm"


def test_an_ollama_whose_libraries_nobody_finds_is_not_judged(tmp_path):
    (check,) = said(tmp_path, "4 x MI300X")
    assert check.status is Status.OK


def test_an_ollama_without_rocm_runs_on_the_cpu(tmp_path):
    (check,) = said(tmp_path, "2 x RX 7900 XTX", rocm=RocmFacts("/usr/lib/ollama"))
    assert check.status is Status.WARN
    assert "no ROCm library in /usr/lib/ollama" in check.detail
    assert "ollama-linux-amd64-rocm" in check.fix


def test_a_chip_without_code_is_named_unless_it_is_taken_for_another(tmp_path):
    built = replace(BUILT, targets=frozenset(("gfx942",)))
    (check,) = said(tmp_path / "a", "2 x RX 7900 XTX", rocm=built)
    assert check.status is Status.WARN
    assert "GPU 0 (AMD Radeon RX 7900 XTX, gfx1100), GPU 1" in check.detail
    assert "hsa_override_gfx_version" in check.fix
    (check,) = said(tmp_path / "b", "2 x RX 7900 XTX", rocm=built, rocm_overridden=True)
    assert check.status is Status.OK


@pytest.mark.parametrize(
    ("box", "version", "status"),
    [
        ("a card without unique id", "0.20.0", Status.WARN),
        ("a card without unique id", "0.30.0", Status.OK),
        ("a partitioned MI300X", "0.24.0", Status.WARN),
        ("a partitioned MI300X", "0.32.1", Status.OK),
        ("4 x MI300X", "0.20.0", Status.OK),
    ],
)
def test_cards_known_by_number_alone_need_a_newer_ollama(tmp_path, box, version, status):
    """Before 0.30 Ollama gives its runner the number among the cards it sees, not among all."""
    (check,) = said(tmp_path, box, rocm=BUILT, binary=BinaryFacts("ollama", "/o", version))
    assert check.status is status


def test_the_one_partition_that_a_container_has_is_known_by_its_id(tmp_path):
    files = BOXES["a partitioned MI300X"]()
    for minor in range(129, 136):
        del files[f"dev/dri/renderD{minor}"]
    old = BinaryFacts("ollama", "/o", "0.20.0")
    facts = replace(BOX, inventory=source(tmp_path, files).inventory(), rocm=BUILT, binary=old)
    (check,) = (check for check in checks(facts) if check.name == "rocm")
    assert check.status is Status.OK


def test_the_libraries_are_found_where_ollama_looks_for_them(tmp_path):
    kernels = tmp_path / "lib/ollama/rocm_v7_2/rocblas/library"
    kernels.mkdir(parents=True)
    for name in ("TensileLibrary_lazy_gfx942.dat", "TensileLibrary_Type_gfx90a.co", "x.dat"):
        (kernels / name).touch()
    binary = tmp_path / "bin/ollama"
    binary.parent.mkdir()
    binary.touch()
    link = tmp_path / "ollama"
    link.symlink_to(binary)
    folder = str(tmp_path / "lib/ollama")
    assert rocm_of(str(link)) == RocmFacts(folder, ("rocm_v7_2",), frozenset(("gfx942",)))
    assert rocm_of("") == RocmFacts()
    (tmp_path / "other").mkdir()
    assert rocm_of(str(tmp_path / "other/deeper/ollama")) == RocmFacts()


def test_a_card_that_cannot_be_used_is_a_warning_with_the_way_out(tmp_path):
    """Also where no other GPU is left."""
    files = BOXES["2 x RX 7900 XTX"]()
    del files["dev/kfd"]
    inventory = source(tmp_path, files).inventory()
    (check,) = (c for c in checks(replace(BOX, inventory=inventory)) if c.name == "gpus")
    assert check.status is Status.WARN
    assert "--device /dev/kfd" in check.detail


def test_amd_s_cards_are_asked_by_amd_s_tool(tmp_path):
    files = BOXES["2 x RX 7900 XTX"]()
    other = "0000:0c:00.0"
    files[f"sys/bus/pci/devices/{other}/vendor"] = "0x1002\n"
    files[f"sys/bus/pci/devices/{other}/class"] = "0x030000\n"
    inventory = source(tmp_path, files).inventory()
    (check,) = (c for c in checks(replace(BOX, inventory=inventory)) if c.name == "gpus")
    assert f"the AMD card at {other} has no driver" in check.detail
    assert "`amd-smi` and `dmesg`" in check.fix
