"""Cards that are divided otherwise while a fleet reads them, against a stand-in for the driver."""

import pytest
from nvml_fixtures import Machine, library, slice_uuid, uuid

__all__ = ["library"]

_MIG = "mig 0 1 1"
_WHOLE = "mig 0 0 0"
_A, _B, _C = (f"slice 0 {n} 0 100" for n in (1, 2, 3))


@pytest.fixture(scope="module")
def machine(library, tmp_path_factory):
    made = Machine(tmp_path_factory.mktemp("machine"), library)
    yield made
    assert made.end() == 0


def _read(machine):
    return {reading["uuid"]: reading for reading in machine.ask("read")["readings"]}


def _changed(machine):
    return {u: reading["changed"] for u, reading in _read(machine).items() if reading["changed"]}


def _listed(machine, *rules):
    machine.becomes(*rules, cards=2)
    machine.ask("inventory")
    assert _changed(machine) == {}


@pytest.mark.parametrize(
    ("listed", "later", "told"),
    [
        ((_WHOLE,), (_MIG, _A), "is in MIG mode since the fleet was started"),
        ((_MIG, _A), (_WHOLE,), "has left MIG mode since the fleet was started"),
        ((_WHOLE,), ("mig 0 0 1",), "is to be in MIG mode after its next reset"),
        ((_MIG, _A), ("mig 0 1 0", _A), "is to leave MIG mode after its next reset"),
        (
            (_MIG, _A),
            (_MIG, _A, _B, _C),
            f"has slices that the fleet does not know: {slice_uuid(0, 2)}, {slice_uuid(0, 3)}",
        ),
        (
            (_MIG, _A, _B),
            (_MIG, _B),
            f"lacks slices that the fleet was started with: {slice_uuid(0, 1)}",
        ),
        (
            (_MIG, _A),
            (_MIG, _B),
            (
                f"has slices that the fleet does not know: {slice_uuid(0, 2)};"
                f" lacks slices that the fleet was started with: {slice_uuid(0, 1)}"
            ),
        ),
    ],
    ids=["divided", "whole", "to be divided", "to be whole", "more", "fewer", "others"],
)
def test_each_way_to_divide_a_card_otherwise_is_told_of_it_while_it_is_so(
    machine, listed, later, told
):
    """And of no other card; with the way out, which is nothing that the fleet does by itself."""
    _listed(machine, *listed)
    machine.becomes(*later, cards=2)
    way_out = "(`fleet down && fleet up` plans with what is there now)"
    assert _changed(machine) == {uuid(0): f"GPU 0 ({uuid(0)}) {told} {way_out}"}
    machine.becomes(*listed, cards=2)
    assert _changed(machine) == {}


def test_a_mode_that_is_called_off_before_the_reset_is_no_change(machine):
    _listed(machine, "mig 0 0 1")
    machine.becomes(_WHOLE, cards=2)
    assert _changed(machine) == {}


def test_a_card_that_does_not_tell_its_mode_any_more_is_as_it_was(machine):
    """Its slices are read on."""
    _listed(machine, _MIG, _A)
    machine.becomes(_MIG, _A, "nvmlDeviceGetMigMode 0 999", cards=2)
    assert _changed(machine) == {}
    assert _read(machine)[slice_uuid(0, 1)]["memory_used_bytes"] is not None


def test_a_card_that_was_divided_while_the_driver_was_away_is_told_of(machine):
    """What it was is what the fleet was started with, however often the driver comes and goes."""
    _listed(machine, _MIG, _A)
    machine.becomes("nvmlInitWithFlags * 9", "nvmlDeviceGetCount_v2 * 1", cards=2)
    assert machine.ask("read")["readings"] == []
    machine.becomes(_MIG, _A, _B, cards=2)
    assert "does not know" in _changed(machine)[uuid(0)]
