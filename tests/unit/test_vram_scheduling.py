"""On which GPUs and with how large a batch: what Ollama settles before it loads a model."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ollama_fleet.bench.vram.files import head
from ollama_fleet.bench.vram.models import MODELS
from ollama_fleet.vram import FlashAttention, ModelShape, Use, need, shape_of
from ollama_fleet.vram.layers import Layer
from ollama_fleet.vram.measured import Measured, computed, worst
from ollama_fleet.vram.scheduling import automatic_batch, gpus_taken, predicted_bytes
from ollama_fleet.vram.use import DEFAULT_MARGIN_BYTES, version_of

AUTO, ON, OFF = FlashAttention
GIB = 2**30
OLD, NEW = (0, 20), (0, 32)
SHAPES = {name: shape_of(head(MODELS[name]())) for name in ("llama", "qwen3", "gemma3-vision")}
LAYER = Layer(
    weights_bytes=0, heads=32, kv_heads=8, key_length=128, value_length=128, hidden=11_008,
    parts=frozenset({"attn_q", "ffn_up", "ffn_gate"}),
)  # fmt: skip


def predicted_as(wanted_bytes: int, use: Use) -> ModelShape:
    """A model of which so much is predicted under these settings."""
    plain = ModelShape("llama", 2**20, 4096, 128, (LAYER,) * 32, input_bytes=0, output_bytes=0)
    return replace(plain, output_bytes=wanted_bytes - predicted_bytes(plain, use))


def test_a_cache_is_predicted_in_f16_whatever_its_type_and_of_all_slots():
    shape = SHAPES["llama"]
    use = Use(8192, 4, "q4_0", ON, version=NEW)
    layer = shape.layers[0]
    row = 2 * len(shape.layers) * layer.kv_heads * (shape.width // layer.heads) * 2
    assert predicted_bytes(shape, use) == shape.file_bytes + 4 * 8192 * row
    beside = replace(shape, adapter_bytes=GIB)  # in a file of its own
    assert predicted_bytes(beside, use) == predicted_bytes(shape, use)
    trained = shape.context_length
    assert predicted_bytes(shape, Use(2 * trained)) == predicted_bytes(shape, Use(trained))


# As TestAutomaticGenerationBatch in Ollama 0.32's server/sched_test.go has it: tokens of all slots,
# GiB predicted and free, the batch.
BATCHES = [
    (4096, 3, 100, AUTO, 512),
    (32_768, 8, 0, AUTO, 1024),
    (131_072, 24, 42, AUTO, 2048),
    (131_072, 26, 42, AUTO, 1024),
    (131_072, 24, 33, AUTO, 1024),
    (32_768, 8.3, 11, AUTO, 512),
    (131_072, 24, 42, OFF, 512),
    (16_384, 3, 6, OFF, 256),
    (4096, 3, 6, OFF, 512),
]


@pytest.mark.parametrize(("tokens", "predicted", "free", "flash", "batch"), BATCHES)
def test_a_batch_is_as_large_as_the_context_lets_it_be_where_memory_is_left(
    tokens, predicted, free, flash, batch
):
    use = Use(tokens // 4, 4, flash_attention=flash, version=NEW)
    shape = predicted_as(round(predicted * GIB), use)
    assert automatic_batch(shape, use, [free * GIB] if free else []) == batch


def test_only_nvidia_cards_are_spared_without_flash_attention():
    use = Use(131_072, flash_attention=OFF, cuda=False)
    assert automatic_batch(predicted_as(24 * GIB, use), use, [42 * GIB]) == 2048


def test_up_to_0_24_a_batch_has_512_tokens():
    use = Use(131_072, version=OLD)
    assert automatic_batch(SHAPES["llama"], use, [80 * GIB]) == 512


@pytest.mark.parametrize(("more", "taken"), [(0, 1), (1, 3)])
def test_from_0_30_on_what_is_predicted_to_fit_on_one_gpu_is_put_there_and_all_else_on_all(
    more, taken
):
    """By four fifths of the freest, to the byte."""
    use = Use(8192, version=NEW)
    shape = predicted_as(16 * GIB + more, use)
    assert gpus_taken(shape, use, [10 * GIB, 20 * GIB, 5 * GIB]) == taken


@pytest.mark.parametrize("version", [OLD, NEW])
def test_who_spreads_takes_all_gpus_and_who_has_none_takes_none(version):
    shape, use = SHAPES["qwen3"], Use(version=version, spreads=True)
    assert gpus_taken(shape, use, [80 * GIB] * 4) == 4
    assert gpus_taken(shape, replace(use, spreads=False), [80 * GIB] * 4) == 1
    assert gpus_taken(shape, use, []) == 0


@settings(max_examples=25)
@given(
    st.sampled_from(sorted(SHAPES)),
    st.lists(st.integers(1, 24).map(lambda n: n * GIB // 8), min_size=1, max_size=6),
    st.sampled_from([2048, 8192, 32_768]),
)
def test_up_to_0_24_no_gpu_could_be_spared_of_those_that_are_taken(name, free, context):
    use = Use(context, 2, version=OLD)
    taken = gpus_taken(SHAPES[name], use, free)
    free.sort(reverse=True)

    def holds(count):
        total = need(SHAPES[name], replace(use, gpus=count)).total_bytes
        return total <= sum(free[:count])

    assert 1 <= taken <= len(free)
    assert holds(taken) or taken == len(free)
    assert not any(map(holds, range(1, taken)))


def test_a_projector_has_room_on_every_gpu_and_lies_on_one():
    shape = SHAPES["gemma3-vision"]
    one, three = need(shape, Use(gpus=1)), need(shape, Use(gpus=3))
    assert one.margin_bytes == DEFAULT_MARGIN_BYTES
    assert three.margin_bytes == 3 * DEFAULT_MARGIN_BYTES + 2 * shape.vision_bytes
    assert three.weights_bytes == one.weights_bytes
    assert need(shape, Use(gpus=3, version=OLD)).margin_bytes == 0


def test_what_is_to_stay_free_is_what_it_was_told():
    told = need(SHAPES["llama"], Use(margin_bytes=GIB // 4))
    assert told.margin_bytes == GIB // 4
    assert need(SHAPES["llama"], Use()).total_bytes - told.total_bytes == 3 * GIB // 4


def figure(**of):
    """What was measured of a model on a card of an instance that has three."""
    return Measured("d", 8192, 4, "f16", 3, 24 * GIB, NEW, "a", GIB)._replace(**of)


def test_what_was_measured_is_compared_with_what_ollama_made_of_its_settings():
    """The GPUs that it took of those it had, the batch that it chose, its version."""
    expected = computed(SHAPES["qwen3"], figure(), Use(1, 1, version=OLD)).use
    assert (expected.gpus, expected.batch_tokens, expected.version) == (1, 1024, NEW)
    assert (expected.context_length, expected.num_parallel) == (8192, 4)
    spread = computed(SHAPES["qwen3"], figure(), Use(spreads=True)).use
    assert spread.gpus == 3
    small = computed(SHAPES["qwen3"], figure(gpu_bytes=GIB // 4), Use()).use
    assert (small.gpus, small.batch_tokens) == (3, 512)


@pytest.mark.parametrize(
    ("of", "use", "counts"),
    [
        ({}, Use(version=NEW), True),
        ({"version": OLD}, Use(version=NEW), False),
        ({"version": OLD}, Use(version=OLD), True),
        ({"gpus": 0}, Use(version=NEW), False),
        ({"gpus": 0}, Use(version=NEW, gpus=0), True),
    ],
)
def test_a_figure_counts_for_the_engine_and_the_kind_of_memory_that_it_is_of(of, use, counts):
    shape, seen = SHAPES["qwen3"], figure(**of)
    whole = seen._replace(size_bytes=computed(shape, seen, use).reported_bytes)
    assert worst(shape, [whole], use) == ((whole, 1.0) if counts else None)


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("0.20.0", (0, 20)), ("v0.33.0-rc2", (0, 33)), ("1.2.3", (1, 2)), (" 0.30.11\n", (0, 30)),
        ("0.0.0", None), ("", None), ("0.30", None), ("ollama", None), ("9" * 5000 + ".1.1", None),
    ],
)  # fmt: skip
def test_the_numbers_of_a_version_that_is_one(text, numbers):
    assert version_of(text) == numbers
