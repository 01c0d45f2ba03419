"""What a model takes on the instances of a fleet: computed for their settings, and measured."""

from itertools import count

import pytest
from test_fits import GIB, MODELS, SHAPES, box, configured

from ollama_fleet.control.footprints import footprints, use_of
from ollama_fleet.names import canonical
from ollama_fleet.placement import needs, place
from ollama_fleet.state import ResidentModel, State, StoredModel
from ollama_fleet.vram.measured import Measured, computed

KEY = canonical("small")
STORED = StoredModel(KEY, "small:latest", "d", 5 * GIB, {})


def fleet(*groups, external=(), version="0.32.15", stored=STORED):
    """The state of a fleet of these groups, each instance of which has the model on disk."""
    config = configured(*groups, instances=list(external))
    placement = place(config, box(24, 24), ports=count(11435), inherited={}, models=MODELS)
    state = State(placement)
    for instance in state.instances.values():
        instance.version = version
        state.set_stored(instance, [stored])
    return state


def found(state, *seen):
    return list(footprints(state, KEY, shapes=MODELS.shapes, seen={"d": seen}))


def figure(**of):
    plain = Measured("d", 8192, 4, "f16", 1, 24 * GIB, (0, 32), "a", 9 * GIB)
    return plain._replace(**of)


@pytest.mark.parametrize(
    "settings",
    [
        {}, {"flash_attention": False}, {"flash_attention": True}, {"sched_spread": True},
        {"sched_spread": False, "kv_cache_type": "q8_0"},
    ],
)  # fmt: skip
def test_the_settings_of_a_running_instance_are_those_that_were_planned_with(settings):
    config = configured({"name": "a", "gpus": [0, 1], **settings})
    planned = config.groups[0].over(config.defaults)
    (instance,) = fleet({"name": "a", "gpus": [0, 1], **settings}).instances.values()
    wanted, has = needs.use_of(planned, box(24, 24).gpus), use_of(instance.spec)
    for field in ("flash_attention", "spreads", "cuda"):
        assert getattr(has, field) == getattr(wanted, field)


def test_each_instance_tells_of_its_own_settings():
    state = fleet(
        {"name": "a", "gpus": [0]},
        {"name": "b", "gpus": [1], "num_parallel": 1, "context_length": 4096},
        external=[{"name": "far", "url": "http://far:11434"}],
    )
    row = ResidentModel(KEY, "small:latest", GIB, GIB, "", {"context_length": 2048})
    state.instances["far"].resident = {KEY: row}  # of its settings nothing is known
    wide, narrow = found(state)
    assert (wide.slots, wide.context_length, narrow.slots, narrow.context_length) == (
        4, 8192, 1, 4096,
    )  # fmt: skip
    assert wide.computed_bytes > narrow.computed_bytes > 4 * GIB
    assert wide.measured_bytes == narrow.measured_bytes == 0


def test_what_was_measured_with_just_these_settings_stands_beside_what_is_computed():
    state = fleet({"name": "a", "gpus": [0]})
    others = (
        figure(num_parallel=1), figure(gpu_bytes=8 * GIB), figure(version=(0, 20)),
        figure(cache_type="q8_0"),
    )  # fmt: skip
    assert [each.measured_bytes for each in found(state, *others)] == [0]
    (shown,) = found(state, *others, figure(size_bytes=7 * GIB))
    assert shown.measured_bytes == 7 * GIB
    expected = computed(SHAPES["small"], figure(), use_of(state.instances["a"].spec))
    assert shown.computed_bytes == expected.reported_bytes


def test_a_model_that_is_loaded_with_another_context_is_told_of_as_it_is():
    state = fleet({"name": "a", "gpus": [0]})
    row = ResidentModel(KEY, "small:latest", GIB, GIB, "", {"context_length": 2048})
    state.instances["a"].resident = {KEY: row}
    assert [each.context_length for each in found(state)] == [2048]


def test_an_estimate_is_no_measure():
    """Of Ollama to 0.24 where llama.cpp runs the model."""
    (shown,) = found(fleet({"name": "a", "gpus": [0]}, version="0.20.0"), figure(version=(0, 20)))
    assert (shown.measured_bytes, shown.computed_bytes > 4 * GIB) == (0, True)


@pytest.mark.parametrize(
    "state",
    [
        fleet({"name": "a", "gpus": [0]}, version=""),
        fleet(
            {"name": "a", "gpus": [0]}, stored=StoredModel("other", "other:latest", "d", GIB, {})
        ),
        fleet(
            {"name": "a", "gpus": [0]},
            stored=StoredModel(KEY, "small:latest", "d", GIB, {"remote_host": "far"}),
        ),
    ],
    ids=["of unknown version", "without the model", "run elsewhere"],
)
def test_of_who_nothing_can_be_known_nothing_is_told(state):
    assert found(state) == []
