"""What `fleet doctor` says of cards that are divided into slices."""

from dataclasses import replace

import pytest

from ollama_fleet.doctor import Facts, Status
from ollama_fleet.doctor.facts import BinaryFacts, ProgramFacts
from ollama_fleet.doctor.machine import gpus, since_started
from ollama_fleet.doctor.nvidia import slices
from ollama_fleet.gpu import Gpu, GpuKind, Inventory, Vendor

_DIVIDED = "GPU 0 (NVIDIA A100) is in MIG mode, divided into 2: GPUs 1 to 2"
_SLICES = tuple(
    Gpu(f"MIG-{n}", n, "slice", Vendor.NVIDIA, 2**33, kind=GpuKind.SLICE, parent_uuid="GPU-a")
    for n in (1, 2)
)


def _facts(inventory, nvidia_cards=1, version="0.20.0"):
    program = ProgramFacts((3, 12, 1), yaml_in_c=True, uvloop="0.22.1", files=65536)
    binary = BinaryFacts("ollama", version=version)
    return Facts(binary, inventory, (), program, nvidia_cards=nvidia_cards)


def _told(inventory, nvidia_cards):
    (check,) = gpus(_facts(inventory, nvidia_cards))
    return check


def test_what_is_only_remarked_of_gpus_is_told_and_well():
    check = _told(Inventory(_SLICES, (_DIVIDED,), remarks=(_DIVIDED,)), 1)
    assert check.status is Status.OK
    assert _DIVIDED in check.detail


def test_a_trouble_beside_remarks_is_no_less_a_trouble():
    notes = (_DIVIDED, "GPU 3 tells no memory size")
    assert _told(Inventory(_SLICES, notes, remarks=notes[:1]), 1).status is Status.WARN


def test_the_slices_of_a_card_are_one_card_of_those_on_the_bus():
    """However many there are, a second card that the driver does not give is missed."""
    check = _told(Inventory(_SLICES, (_DIVIDED,), remarks=(_DIVIDED,)), 2)
    assert check.status is Status.WARN
    assert "1 of 2 NVIDIA cards" in check.detail


@pytest.mark.parametrize(
    ("version", "warned"),
    [("0.13.1", 0), ("0.13.2", 1), ("0.24.0", 1), ("0.30.0", 0), ("1.0.0", 0), ("", 0)],
)
def test_an_ollama_that_leaves_slices_out_is_warned_of(version, warned):
    """By its version; of one that is unknown nothing is said, nor where there are no slices."""
    checks = list(slices(_facts(Inventory(_SLICES), version=version)))
    assert [(check.status, "GPUs 1, 2:" in check.detail) for check in checks] == (
        [(Status.WARN, True)] * warned
    )
    card = Gpu("GPU-a", 0, "card", Vendor.NVIDIA, 2**33)
    assert list(slices(_facts(Inventory((card,)), version=version))) == []


def test_who_runs_no_ollama_on_slices_is_not_warned():
    simulated = Inventory(_SLICES, simulated=True)
    assert list(slices(_facts(simulated))) == []
    assert list(slices(replace(_facts(Inventory(_SLICES)), runs_own=False))) == []


def _since(known, inventory):
    facts = replace(_facts(inventory), fleet_gpus=known)
    return [(check.status, check.detail) for check in since_started(facts)]


def test_gpus_that_the_fleet_that_runs_was_not_started_with_are_named():
    inventory = Inventory(_SLICES, (_DIVIDED,), remarks=(_DIVIDED,))
    assert _since(frozenset(("MIG-1",)), inventory) == [
        (Status.WARN, "the fleet that runs does not know GPU 2 (MIG-2)")
    ]
    assert _since(frozenset(("MIG-1", "MIG-2", "MIG-3")), inventory) == [
        (Status.WARN, "the fleet that runs was started with MIG-3, which is no more")
    ]
    assert _since(frozenset(("MIG-1", "MIG-2")), inventory) == []
    assert _since(None, inventory) == [], "none runs, or on simulated GPUs"


def test_a_gpu_that_the_driver_has_trouble_with_is_not_said_to_be_no_more():
    """The driver's own words stand in another line."""
    amiss = Inventory(_SLICES[:1], ("GPU 1 is lost",))
    assert _since(frozenset(("MIG-1", "MIG-2")), amiss) == []
