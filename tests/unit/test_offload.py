"""Models on the CPU: which of them a restart could bring back to the GPU."""

from dataclasses import replace

from fleet_fixtures import stored
from hypothesis import given, settings
from hypothesis import strategies as st
from repair_fixtures import Sick, card

from ollama_fleet.control.repair.offload import MARGIN_BYTES, Offloads, fits, room_bytes, spilled
from ollama_fleet.gpu import GpuReading, GpuSample
from ollama_fleet.names import canonical
from ollama_fleet.state import ResidentModel

GIB = 2**30
CARDS = (card(0),)


def loaded(size_gib, vram_gib, name="m"):
    return ResidentModel(
        canonical(name), name, int(size_gib * GIB), int(vram_gib * GIB), "", {"name": name}
    )


def sample(used_gib):
    return GpuSample((GpuReading("GPU-0", int(used_gib * GIB)),))


def found(it, *samples, offloads=None):
    """What the last of these looks finds due."""
    offloads, due = offloads or Offloads(), {}
    for each in samples:
        due = offloads.due(it, each)
    return due


def with_rows(*rows, gpus=CARDS):
    sick = Sick(gpus=gpus)
    sick.state.set_resident(sick.it, rows)
    return sick.it


def test_a_model_that_fell_to_the_cpu_beside_an_empty_card_is_worth_a_restart():
    due = found(with_rows(loaded(8, 0)), sample(0.5), sample(0.5))
    assert list(due) == [canonical("m")]
    assert "100% on the CPU" in due[canonical("m")]


def test_one_that_would_not_fit_is_for_placement_to_mend():
    assert found(with_rows(loaded(40, 22)), sample(22.5), sample(22.5)) == {}
    assert found(with_rows(loaded(20, 4)), sample(20), sample(20)) == {}, (
        "a stranger has the memory"
    )


def test_what_this_instance_itself_holds_of_the_card_counts_as_room():
    assert found(with_rows(loaded(20, 12)), sample(12.5), sample(12.5))


def test_nobody_is_restarted_for_what_somebody_asked_for_or_where_nothing_is_known():
    assert found(with_rows(loaded(8, 8)), sample(8), sample(8)) == {}
    assert (
        found(with_rows(loaded(8, 0)), GpuSample(error="no reading"), GpuSample(error="no reading"))
        == {}
    )
    assert not list(spilled(with_rows(loaded(8, 0), gpus=())))
    asked = Sick(gpus=(card(0),))
    layers = stored("m", profile=(("num_gpu", 0),))
    asked.state.set_stored(asked.it, [layers])
    asked.state.set_resident(asked.it, [loaded(8, 0)])
    asked.it.runners[layers.weights].profile = layers.profile
    assert not list(spilled(asked.it))


def test_a_restart_that_did_not_help_is_not_tried_again_until_the_model_was_on_the_gpu():
    offloads, it = Offloads(), with_rows(loaded(8, 0))
    offloads.tried(it, found(it, sample(0), sample(0), offloads=offloads))
    assert found(it, sample(0), sample(0), offloads=offloads) == {}
    it.rows = (loaded(8, 8),)
    assert found(it, sample(8), offloads=offloads) == {}
    it.rows = (loaded(8, 0),)
    assert found(it, sample(0), sample(0), offloads=offloads)


def test_a_model_that_has_just_left_is_no_reason():
    """Its memory is free and it is listed still: for one look, and never beyond the card."""
    large, shared = with_rows(loaded(40, 22)), with_rows(loaded(20, 12))
    assert room_bytes(large, sample(0.5)) == 24 * GIB
    assert found(large, sample(22.5), sample(0.5), sample(0.5)) == {}
    offloads = Offloads()
    assert found(shared, sample(22), sample(10), offloads=offloads) == {}
    shared.rows = ()
    assert found(shared, sample(10), offloads=offloads) == {}


sizes = st.integers(1, 200 * GIB)


@settings(max_examples=50)
@given(sizes, sizes, sizes)
def test_more_room_never_makes_a_model_fit_less_and_a_full_card_fits_nothing(size, room, more):
    model = replace(loaded(1, 0), size_bytes=size)
    assert fits(model, room) <= fits(model, room + more)
    assert not fits(model, min(size, MARGIN_BYTES))


def test_room_is_known_only_where_every_card_of_the_instance_is_read():
    two = with_rows(loaded(8, 0), gpus=(card(0), card(1)))
    assert room_bytes(two, sample(1)) is None
    both = GpuSample((GpuReading("GPU-0", GIB), GpuReading("GPU-1", 2 * GIB)))
    assert room_bytes(two, both) == 45 * GIB
