"""What does not fit is refused with the sum and true ways out; what is promised fits."""

from dataclasses import replace
from itertools import count
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ollama_fleet.config import Config
from ollama_fleet.errors import Exit, PlacementError
from ollama_fleet.gpu import Gpu, GpuKind, Inventory, Vendor
from ollama_fleet.names import canonical
from ollama_fleet.placement import Models, place
from ollama_fleet.placement.instances import dealt
from ollama_fleet.placement.misfits import Misfit
from ollama_fleet.placement.needs import default_context
from ollama_fleet.placement.remedies import remedies
from ollama_fleet.placement.seats import Seat
from ollama_fleet.sim.ollama.profile import Model
from ollama_fleet.sim.shapes import shape_of
from ollama_fleet.vram import ModelShape, Use
from ollama_fleet.vram.measured import Measured, computed

GIB = 2**30


def shape(size_gib: float, parameters: str, **fields: Any) -> ModelShape:
    known = {"family": "llama", "context_length": 131072, **fields}
    return shape_of(Model("m", round(size_gib * GIB), parameters, quantization="Q4_K_M", **known))


SHAPES = {
    "huge": shape(39.6, "70.6B"),
    "large": shape(18.8, "32.8B"),
    "small": shape(4.6, "8.03B"),
    "embed": shape(0.26, "137M", embedding=True, context_length=2048),
}
MODELS = Models(
    {canonical(name): of.file_bytes for name, of in SHAPES.items()},
    {canonical(name): of for name, of in SHAPES.items()},
)


def box(*gib: int) -> Inventory:
    return Inventory(
        tuple(Gpu(f"GPU-{i}", i, "card", Vendor.NVIDIA, of * GIB) for i, of in enumerate(gib))
    )


def configured(*groups: dict[str, Any], **rest: Any) -> Config:
    return Config.model_validate({"groups": list(groups), **rest})


def placed(config: Config, inventory: Inventory, models: Models = MODELS) -> Any:
    return place(config, inventory, ports=count(11435), inherited={}, models=models)


def refused(config: Config, inventory: Inventory, models: Models = MODELS) -> PlacementError:
    with pytest.raises(PlacementError) as caught:
        placed(config, inventory, models)
    return caught.value


def test_a_pinned_model_that_does_not_fit_is_refused_with_the_sum_and_the_ways_out():
    error = refused(configured({"name": "big", "gpus": [0], "models": ["large"]}), box(26, 26))
    assert error.exit_code == Exit.CONFIG
    for words in ("`big`", "large", "weights", "cache", "4 x 8192 tokens", "26.0 GiB", "too much"):
        assert words in error.reason
    for words in (
        "`num_parallel: 2`", "`context_length: 4096`", "`kv_cache_type: q8_0`", "`gpus: [0, 1]`",
        "quantisation", "`cpu_offload: true`",
    ):  # fmt: skip
        assert words in error.hint


def test_what_must_stay_free_is_counted_once_however_many_models_are_there():
    """Each alone would leave a gibibyte free; together they leave one, not one each."""
    settings = configured({"name": "a", "gpus": [0]}).defaults
    gpus = box(24).gpus
    claims = [MODELS.claim(name, settings, gpus) for name in ("small", "embed")]
    margin = claims[0].margin_bytes
    assert margin == claims[1].margin_bytes == GIB
    both = sum(claim.total_bytes for claim in claims) - margin
    for spare, fits in ((0, True), (-1, False)):
        card = Gpu("GPU-0", 0, "card", Vendor.NVIDIA, both + spare)
        config = configured({"name": "a", "gpus": [0], "models": ["small", "embed"]})
        if fits:
            placed(config, Inventory((card,)))
        else:
            error = refused(config, Inventory((card,)))
            assert "1.0 GiB of the overheads is the same" in error.reason


def test_no_quantisation_is_offered_that_nobody_makes():
    """A quarter of the weights is the least that is worth a thought."""
    group = {"name": "big", "gpus": [0], "models": ["huge"]}
    assert "quantisation" not in refused(configured(group), box(16)).hint
    assert "quantisation" in refused(configured(group), box(40)).hint


def test_slices_are_never_offered_together():
    slices = tuple(
        replace(gpu, kind=GpuKind.SLICE, parent_uuid="GPU-9") for gpu in box(20, 20).gpus
    )
    error = refused(configured({"name": "a", "gpus": [0], "models": ["large"]}), Inventory(slices))
    assert "`gpus:" not in error.hint


@pytest.mark.parametrize(("spare", "surely"), [(0, False), (-1, True)])
def test_models_surely_do_not_fit_where_the_least_of_them_with_one_margin_is_too_much(
    spare, surely
):
    """Of one only its size on disk is sure."""
    settings = configured({"name": "a", "num_parallel": 1}).groups[0]
    known = [MODELS.claim(name, settings, box(24).gpus) for name in ("small", "embed")]
    claims = (*known, sized(m=10).claim("m", settings, box(24).gpus))
    least = sum(claim.sure_bytes for claim in claims) - GIB
    gpu = Gpu("GPU-0", 0, "card", Vendor.NVIDIA, least + spare)
    assert Misfit(Seat("a", "a", 0, (gpu,), 1, ()), claims).surely == surely


def test_what_no_setting_can_mend_leaves_the_cpu_only():
    error = refused(configured({"name": "big", "gpus": [0], "models": ["huge"]}), box(8))
    assert "it fits with" not in error.hint
    assert "`cpu_offload: true`" in error.hint


def test_cpu_offload_lets_it_run_and_says_so():
    group = {"name": "big", "gpus": [0], "models": ["huge"], "cpu_offload": True}
    placement = placed(configured(group), box(24))
    assert placement.instances[0].pinned == (canonical("huge"),)
    assert [note for note in placement.notes if "on the CPU" in note and "too much" in note]


def test_models_that_are_all_loaded_at_start_must_fit_together():
    group = {"name": "a", "gpus": [0], "num_parallel": 1, "models": ["large", "small"]}
    error = refused(configured(group), box(24))
    assert "large: " in error.reason
    assert "small: " in error.reason
    assert "together" in error.reason
    assert "`max_loaded_models: 1`" in error.hint


@pytest.mark.parametrize("meant", [{"max_loaded_models": 1}, {"keep_alive": 0}])
def test_models_that_are_to_take_turns_are_noted_only(meant):
    group = {"name": "a", "gpus": [0], "num_parallel": 1, "models": ["large", "small"], **meant}
    (note,) = placed(configured(group), box(24)).notes
    assert next(iter(meant)) in note


def test_as_many_take_turns_as_fit_with_what_must_stay_free_counted_once():
    models = ["large", "small", "embed"]
    config = configured({"name": "a", "gpus": [0], "num_parallel": 1, "models": models})
    settings = config.groups[0].over(config.defaults)
    large, small, _ = (MODELS.claim(name, settings, box(80).gpus) for name in models)
    both = large.total_bytes + small.total_bytes - GIB
    card = Gpu("GPU-0", 0, "card", Vendor.NVIDIA, both)
    assert "`max_loaded_models: 2`" in refused(config, Inventory((card,))).hint


def test_a_model_of_which_only_the_size_is_known_is_refused_if_that_alone_is_too_much():
    """With a fifth more it may not fit: that is a rule of thumb, and so a note."""
    group = {"name": "a", "gpus": [0], "models": ["m"]}
    assert "may not hold m" in placed(configured(group), box(24), sized(m=22)).notes[0]
    assert "header could not be read" in refused(configured(group), box(24), sized(m=25)).reason
    notes = placed(configured(group), box(24), sized(m=10)).notes
    assert [note for note in notes if "header of m could not be read" in note]


def sized(**gib: float) -> Models:
    return Models({canonical(name): round(size * GIB) for name, size in gib.items()})


def test_a_preload_that_does_not_fit_is_noted():
    config = configured({"name": "a", "gpus": [0]}, models={"huge": {"preload": True}})
    assert [n for n in placed(config, box(24)).notes if "cannot hold" in n and "CPU" in n]


def test_replicas_are_preloaded_where_there_is_room_beside_what_is_pinned():
    config = configured(
        {"name": "a", "gpus": [0], "models": ["large"], "num_parallel": 1},
        {"name": "b", "gpus": [1]},
        models={"small": {"preload": True, "replicas": 1}},
    )
    assert [spec.preload for spec in placed(config, box(24, 24)).instances] == [
        ("large",),
        ("small",),
    ]


def seen(name: str, ratio: float, **settings: Any) -> Models:
    """Models of which one was measured, so much above what is computed."""
    measured = Measured("d", 4096, 1, "f16", 1, 80 * GIB, (0, 32), "b", 0)._replace(**settings)
    expected = computed(SHAPES[name], measured, Use()).reported_bytes
    measured = measured._replace(size_bytes=round(ratio * expected))
    return Models(MODELS.size_bytes, MODELS.shapes, {canonical(name): (measured,)})


def test_what_was_measured_decides():
    """Measured at less than was computed, a model fits where it did not; and it says so."""
    config = configured({"name": "a", "gpus": [0], "models": ["large"]})
    refused(config, box(24))
    assert placed(config, box(24), seen("large", 0.7)).instances[0].pinned
    assert "as b measured" in refused(config, box(8), seen("large", 0.7)).reason


@pytest.mark.parametrize(
    "nonsense",
    [{"ratio": 0.3}, {"ratio": 3}, {"ratio": 0.7, "gpus": 0}, {"ratio": 0.7, "version": (0, 20)}],
)
def test_a_figure_that_cannot_be_of_the_model_corrects_nothing(nonsense):
    """Half or twice of what is computed, from a CPU where GPUs are meant, or of another engine."""
    config = configured({"name": "a", "gpus": [0], "models": ["large"]})
    assert refused(config, box(24), seen("large", **nonsense)).reason == (
        refused(config, box(24)).reason
    )


def test_a_model_that_fits_on_one_gpu_of_several_takes_the_overhead_of_one():
    """As Ollama packs it; one that does not, or is to be spread, takes that of all."""
    group = {"name": "a", "gpus": [0, 1, 2]}
    config = configured(group)
    settings, gpus = config.groups[0].over(config.defaults), box(24, 24, 8).gpus
    small, huge = (MODELS.claim(name, settings, gpus) for name in ("small", "huge"))
    assert small.total_bytes == MODELS.claim("small", settings, gpus[:1]).total_bytes
    assert (small.need.use.gpus, huge.need.use.gpus) == (1, 3)
    spread = settings.model_copy(update={"sched_spread": True})
    assert MODELS.claim("small", spread, gpus).need.use.gpus == 3


def test_a_model_that_ollama_puts_on_one_gpu_where_it_is_too_large_is_refused():
    """By its prediction it fits, with the buffers it does not: the other GPU would stay idle."""
    group = {"name": "a", "gpus": [0, 1], "num_parallel": 1, "models": ["small"]}
    group |= {"flash_attention": False}
    inventory = Inventory(
        tuple(Gpu(f"GPU-{i}", i, "card", Vendor.NVIDIA, round(7.1 * GIB)) for i in (0, 1))
    )
    error = refused(configured(group), inventory)
    assert "7.1 GiB of others that stay idle" in error.reason
    assert "with `sched_spread: true`" in error.hint
    placed(configured(group | {"sched_spread": True}), inventory)


@pytest.mark.parametrize(
    ("told", "margin"),
    [({}, GIB), ({"llama_arg_fit_target": "3GiB"}, 3 * GIB), ({"llama_arg_fit": False}, 0)],
)
def test_what_llama_server_is_told_to_leave_free_is_reckoned_with(told, margin):
    config = configured({"name": "a", **told})
    settings = config.groups[0].over(config.defaults)
    assert MODELS.claim("small", settings, box(24).gpus).margin_bytes == margin


def test_the_version_of_ollama_decides_which_engine_is_reckoned_with():
    """Up to 0.24 nothing has to stay free; of an unknown version it is one from 0.30 on."""
    settings = configured({"name": "a"}).groups[0]
    margins = [
        MODELS.of_version(version).claim("small", settings, box(24).gpus).margin_bytes
        for version in (None, (0, 32), (0, 20))
    ]
    assert margins == [GIB, GIB, 0]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"kv_cache_type": "q8_0", "flash_attention": False}, True),
        ({"kv_cache_type": "bf16", "flash_attention": False}, False),
        ({"kv_cache_type": "q8_0"}, False),
        ({"flash_attention": False}, False),
    ],
)
def test_a_cache_that_is_quantised_without_flash_attention_is_noted(settings, told):
    """llama-server loads nothing with both."""
    notes = placed(configured({"name": "a", "gpus": [0], **settings}), box(24)).notes
    assert any("loads no model" in note for note in notes) == told


def test_an_unset_context_is_the_one_ollama_chooses_by_its_memory():
    group = {"name": "a", "gpus": [0], "context_length": 0, "num_parallel": 1, "models": ["large"]}
    assert "1 x 32768 tokens" in refused(configured(group), box(24)).reason
    assert "1 x 4096 tokens" in refused(configured(group), box(16)).reason


@pytest.mark.parametrize(
    ("gib", "overhead", "tokens"),
    [
        ((22,), None, 4096),
        ((23,), None, 32_768),
        ((24, 22), None, 32_768),
        ((24, 23), None, 262_144),
        ((24, 24), "1GiB", 32_768),
        ((), None, 4096),
    ],
)
def test_what_is_spared_of_gpus_is_not_among_the_memory_that_decides(gib, overhead, tokens):
    """23 and 47 GiB of all of them, as Ollama 0.15.5 and later have it."""
    settings = configured({"name": "a", "gpu_overhead": overhead}).groups[0]
    assert default_context(settings, box(*gib).gpus) == tokens


# -- laws ------------------------------------------------------------------------------------------

wishes = st.fixed_dictionaries(
    {
        "models": st.lists(st.sampled_from(sorted(SHAPES)), min_size=1, max_size=3, unique=True),
        "num_parallel": st.sampled_from([1, 2, 4, 16]),
        "context_length": st.sampled_from([0, 2048, 8192, 131072]),
        "kv_cache_type": st.sampled_from([None, "f32", "q8_0", "q4_0"]),
        "flash_attention": st.sampled_from([None, True, False]),
        "count": st.integers(1, 2),
        "gpu_overhead": st.sampled_from([None, "1GiB"]),
    }
)
boxes = st.lists(st.sampled_from([8, 16, 24, 48, 80]), min_size=1, max_size=4)


@settings(max_examples=20)
@given(wishes, boxes, st.booleans())
def test_what_is_promised_at_once_fits(wish, gib, auto):
    """Of a plan that is not refused, each instance's models are no more than its memory.

    What must stay free is in the claim of each model, and must be there once.
    """
    group = {"name": "a", "gpus": "auto" if auto else [0], **wish}
    config, inventory = configured(group), box(*gib)
    seating, tasks = dealt(config, inventory, MODELS)
    assume(not tasks.misfits)
    resolved = config.groups[0].over(config.defaults)
    for seat in seating.seats:
        models = tasks.preload.get(seat.name, {}).values()
        claims = [MODELS.claim(model, resolved, seat.gpus) for model in models]
        taken = [claim.total_bytes - claim.margin_bytes for claim in claims]
        free = max((claim.margin_bytes for claim in claims), default=0)
        together = sum(sorted(taken)[-3 * len(seat.gpus) :]) + free
        assert together <= seat.room_bytes
        assert together * seat.sharers <= sum(gpu.memory_bytes for gpu in seat.gpus)


@settings(max_examples=12, deadline=None)
@given(wishes, boxes, st.booleans())
def test_the_ways_out_are_true(wish, gib, auto):
    """Whatever else is wrong, what a way out is offered for is not refused any more with it."""
    group = {"name": "a", "gpus": "auto" if auto else [0], **wish}
    config, inventory = configured(group), box(*gib)

    def misfits(changed: Config) -> tuple[Any, ...]:
        return dealt(changed, inventory, MODELS)[1].misfits

    found = misfits(config)
    assume(found)
    for remedy in remedies(config, inventory, found[0], misfits):
        text = {**group, **remedy.changes}
        again = misfits(configured(text))  # as if it had been written into the file
        assert found[0].at not in {misfit.at for misfit in again}
        if len(found) == 1:
            placed(configured(text), inventory)


@settings(max_examples=20)
@given(
    st.sampled_from(sorted(SHAPES)),
    wishes,
    st.sampled_from(["num_parallel", "context_length"]),
    st.none() | st.floats(0.5, 2),
)
def test_more_of_anything_never_takes_less(name, wish, key, ratio):
    """Nor after something was measured."""
    models = seen(name, ratio) if ratio else MODELS
    base = configured({"name": "a", **wish, "context_length": wish["context_length"] or 4096})
    more = configured(
        {"name": "a", **wish, "context_length": wish["context_length"] or 4096}
        | {key: 2 * (wish[key] or 4096)}
    )
    less, greater = (
        models.claim(name, each.groups[0].over(each.defaults), box(24).gpus).total_bytes
        for each in (base, more)
    )
    assert less <= greater


@pytest.mark.parametrize("name", sorted(SHAPES))
def test_a_larger_cache_type_never_takes_less(name):
    kinds = ["q4_0", "q8_0", "f16", "f32"]
    needs = [
        MODELS.claim(
            name, configured({"name": "a", "kv_cache_type": kind}).groups[0], box(24).gpus
        ).total_bytes
        for kind in kinds
    ]
    assert needs == sorted(needs)
