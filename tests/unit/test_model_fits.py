"""Where a model fits: true of each instance, and of the boxes that a plan must be shown for."""

import math
from dataclasses import replace

import pytest
from test_fits import MODELS, SHAPES, box, configured

from ollama_fleet.cli.fitting import document, show
from ollama_fleet.config import Config
from ollama_fleet.fleet.simulating import profile_models
from ollama_fleet.gpu import GpuKind, Inventory
from ollama_fleet.names import canonical
from ollama_fleet.placement import Models
from ollama_fleet.placement.fits import SLOTS, STEP_TOKENS, model_fits
from ollama_fleet.placement.shares import room_bytes
from ollama_fleet.sim.hardware import SimulatedGpus
from ollama_fleet.sim.ollama.profile import BUILT_IN, load

GIB = 2**30
PROFILES = sorted(path.stem for path in BUILT_IN.glob("*.yaml"))


def claimed(config, name, gpus, **changes):
    settings = config.groups[0].over(config.defaults).model_copy(update=changes)
    return MODELS.claim(name, settings, gpus).total_bytes


@pytest.mark.parametrize("name", sorted(SHAPES))
@pytest.mark.parametrize("gib", [8, 24, 48])
def test_the_longest_context_is_the_longest_that_fits(name, gib):
    """With each number of slots; a thousand tokens more are too many, or more than it learned."""
    config, inventory = configured({"name": "a", "gpus": [0]}), box(gib)
    (fit,) = model_fits(config, inventory, MODELS, name).fits
    assert fit.choices
    for choice in fit.choices:
        trained = SHAPES[name].context_length
        longer = choice.context_length + STEP_TOKENS
        if choice.context_length:
            of = {"num_parallel": choice.slots, "context_length": choice.context_length}
            assert claimed(config, name, inventory.gpus, **of) <= gib * 2**30
        if longer <= trained:
            of = {"num_parallel": choice.slots, "context_length": longer}
            assert claimed(config, name, inventory.gpus, **of) > gib * 2**30


def test_what_is_loaded_at_start_is_taken_off():
    config = configured({"name": "a", "gpus": [0], "num_parallel": 1, "models": ["large"]})
    found = model_fits(config, box(24), MODELS, "small")
    (fit,) = found.fits
    assert (fit.fits, fit.fits_alone) == (False, True)
    margin = fit.claim.margin_bytes  # is counted with the model that is asked for
    assert margin > 0
    assert fit.beside_bytes == claimed(config, "large", fit.gpus) - margin
    assert "bound elsewhere" not in show(found)
    assert "alone" in show(found)


def test_what_must_stay_free_is_that_of_the_model_which_is_on_the_most_gpus():
    """A large one over three cards leaves room on each, a small one beside it only on its own."""
    config = configured({"name": "a", "gpus": [0, 1, 2], "num_parallel": 1, "models": ["huge"]})
    (fit,) = model_fits(config, box(24, 24, 24), MODELS, "small").fits
    alone = claimed(config, "huge", fit.gpus)
    assert fit.claim.margin_bytes == GIB
    assert fit.beside_bytes == alone - GIB


def test_a_model_that_is_bound_to_other_groups_is_said_to_be():
    config = configured({"name": "a", "gpus": [0], "models": ["small"]}, {"name": "b", "gpus": [1]})
    found = model_fits(config, box(24, 24), MODELS, "small")
    assert [fit.bound for fit in found.fits] == [False, True]
    assert "bound elsewhere" in show(found)


def test_an_embedding_model_has_one_slot():
    (fit,) = model_fits(configured({"name": "a"}), box(24), MODELS, "embed").fits
    assert [choice.slots for choice in fit.choices] == [1]


def test_no_context_is_promised_that_is_longer_than_was_trained():
    """Nor for one that is no multiple of the steps."""
    key = canonical("embed")
    short = Models(MODELS.size_bytes, {key: replace(SHAPES["embed"], context_length=500)})
    (fit,) = model_fits(configured({"name": "a"}), box(24), short, "embed").fits
    assert [choice.context_length for choice in fit.choices] == [500]


def test_where_nothing_holds_it_the_fewest_gpus_are_named():
    found = model_fits(configured({"name": "a"}), box(24, 24, 24, 24), MODELS, "huge")
    assert not any(fit.fits_alone for fit in found.fits)
    assert len(found.wider.gpus) == 3
    assert room_bytes(found.wider.gpus[:2]) < found.wider.claim.total_bytes
    assert "`gpus: [0, 1, 2]`" in show(found)
    spared = configured({"name": "a"}, defaults={"gpu_overhead": "6GiB"})
    assert len(model_fits(spared, box(24, 24, 24, 24), MODELS, "huge").wider.gpus) == 4
    slices = [replace(gpu, kind=GpuKind.SLICE) for gpu in box(24, 24, 24).gpus]
    sliced = model_fits(configured({"name": "a"}), Inventory(tuple(slices)), MODELS, "huge")
    assert sliced.wider is None
    tight = model_fits(configured({"name": "a"}), box(24, 24), MODELS, "huge")
    assert "`kv_cache_type: q8_0`" in show(tight)
    assert "no GPUs of this machine" in show(
        model_fits(configured({"name": "a"}), box(8, 8), MODELS, "huge")
    )


def test_a_document_says_what_the_table_says():
    (fit,) = document(model_fits(configured({"name": "a"}), box(24), MODELS, "small"))["instances"]
    parts = ("weights_bytes", "cache_bytes", "graph_bytes", "overhead_bytes")
    assert fit["needed_bytes"] == sum(fit[part] for part in parts)
    assert fit["fits"] is True
    assert [choice["slots"] for choice in fit["choices"]] == list(SLOTS)


@pytest.mark.parametrize("name", PROFILES)
def test_each_box_says_of_each_of_its_models_where_it_fits(name, tmp_path):
    """One with a size, yes or no, and where no is the whole answer a way out or its absence."""
    profile = load(name)
    inventory, models = SimulatedGpus(profile, tmp_path).inventory(), profile_models(profile)
    for model in profile.models:
        found = model_fits(Config(), inventory, models, model.name)
        for fit in found.fits:
            need = fit.claim.need
            weights = models.shapes[canonical(model.name)].file_bytes
            assert need.weights_bytes <= fit.claim.total_bytes
            assert math.isclose(weights, model.size_bytes, rel_tol=0.01)
            assert fit.fits == (fit.claim.total_bytes <= fit.room_bytes)
        lonely = not any(fit.fits_alone for fit in found.fits)
        assert lonely == any(words in show(found) for words in ("fewest GPUs", "no GPUs of"))
