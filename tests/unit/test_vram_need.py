"""What a model takes of memory, against what a real Ollama 0.20.0 allocated for its like."""

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ollama_fleet.bench.vram.files import head
from ollama_fleet.bench.vram.models import MODELS
from ollama_fleet.vram import Engine, FlashAttention, Head, Use, engine_of, explain, need, shape_of
from ollama_fleet.vram.gguf import Tensor
from ollama_fleet.vram.tensors import tensor_bytes

AUTO, ON, OFF = FlashAttention
OLD, NEW = (0, 20), (0, 32)
SHAPES = {name: shape_of(head(made())) for name, made in MODELS.items()}
MIB = 2**20

# MiB of weights, cache and graph that Ollama 0.20.0 tells of in its log, on the CPU.
MEASURED = [
    ("llama", Use(2048, 1, "f16", AUTO), 429.01, 32, 66.5),
    ("llama", Use(32768, 1, "f16", AUTO), 429.01, 512, 118.5),
    ("llama", Use(8192, 4, "f16", OFF), 429.01, 512, 546.01),
    ("mixtral", Use(2048, 1, "f16", AUTO), 402.28, 12, 66.5),
    ("mixtral", Use(8192, 1, "f16", AUTO), 402.28, 48, 64.5),
    ("mixtral", Use(32768, 1, "f16", OFF), 402.28, 192, 2121.01),
    ("qwen2", Use(8192, 1, "f16", AUTO), 408.09, 48, 324.76),
    ("qwen2", Use(32768, 1, "f16", OFF), 408.09, 192, 845.01),
    ("qwen3", Use(2048, 1, "f16", AUTO), 372.2, 48, 28),
    ("qwen3", Use(32768, 4, "f16", AUTO), 372.2, 3072, 152),
    ("qwen3", Use(8192, 1, "f16", OFF), 372.2, 192, 268),
    ("qwen3moe", Use(8192, 1, "f16", AUTO), 477.6, 192, 56),
    ("qwen3moe", Use(8192, 4, "f16", AUTO), 477.6, 768, 80),
    ("gemma2", Use(8192, 1, "f16", AUTO), 245.29, 192, 147.77),
    ("gemma2", Use(32768, 1, "f16", OFF), 245.29, 768, 660.5),
    ("gemma2", Use(8192, 2, "q8_0", ON), 245.29, 384, 180.53),  # which does without both
    ("llama", Use(8192, 2, "q8_0", ON), 429.01, 136, 76),
    ("gptoss", Use(8192, 2, "q8_0", ON), 618.3, 78.1, 119.3),
    ("gemma3", Use(2048, 1, "f16", AUTO), 909.7, 14, 50),
    ("gemma3", Use(32768, 1, "f16", AUTO), 909.7, 74, 82),
    ("gemma3", Use(2048, 4, "f16", AUTO), 909.7, 43.5, 59.8),
    ("gptoss", Use(2048, 1, "f16", AUTO), 618.3, 24, 90.8),
    ("gptoss", Use(32768, 1, "f16", AUTO), 618.3, 219, 131.2),
    ("gemma3-vision", Use(8192, 1, "f16", AUTO), 861, 13, 123.8),
    ("phi3", Use(8192, 4, "f16", OFF), 467.5, 1536, 552.02),
    ("deepseek2", Use(4096, 1, "f16", AUTO), 569.4, 42.5, 190.05),
    ("deepseek2", Use(4096, 2, "f16", AUTO), 569.4, 85, 318.05),
    ("bert", Use(2048, 1, "f16", AUTO), 171.4, 0, 19.5),
    ("nomic", Use(8192, 1, "f16", AUTO), 197.5, 0, 234),
]


def on_cpu(use):
    return Use(
        use.context_length,
        use.num_parallel,
        use.cache_type,
        use.flash_attention,
        gpus=0,
        version=OLD,
    )


@pytest.mark.parametrize(("name", "use", "weights", "cache", "graph"), MEASURED)
def test_each_component_is_what_ollama_allocated(name, use, weights, cache, graph):
    found = need(SHAPES[name], on_cpu(use))
    assert found.weights_bytes / MIB == pytest.approx(weights, abs=0.06)
    assert found.cache_bytes / MIB == pytest.approx(cache, abs=0.06)
    assert found.graph_bytes / MIB == pytest.approx(graph, abs=0.06)
    assert found.overhead_bytes == found.host_bytes == 0


USES = st.builds(
    Use,
    context_length=st.integers(1, 300_000),
    num_parallel=st.integers(1, 8),
    cache_type=st.sampled_from(["f16", "q8_0", "q4_0"]),
    flash_attention=st.sampled_from(list(FlashAttention)),
    gpus=st.integers(0, 8),
    version=st.sampled_from([OLD, NEW]),
)


@settings(max_examples=25)
@given(name=st.sampled_from(sorted(SHAPES)), use=USES, more=st.integers(1, 4))
def test_more_context_or_more_slots_never_take_less_cache(name, use, more):
    shape = SHAPES[name]
    longer = Use(use.context_length * (1 + more), use.num_parallel, version=use.version)
    wider = Use(use.context_length, use.num_parallel + more, version=use.version)
    plain = need(shape, Use(use.context_length, use.num_parallel, version=use.version))
    assert need(shape, longer).cache_bytes >= plain.cache_bytes
    assert need(shape, wider).cache_bytes >= plain.cache_bytes


@settings(max_examples=25)
@given(name=st.sampled_from(sorted(SHAPES)), use=USES)
def test_no_tensor_is_forgotten_and_the_sum_is_that_of_its_parts(name, use):
    shape = SHAPES[name]
    found = need(shape, use)
    assert found.weights_bytes + found.host_bytes >= shape.file_bytes
    assert found.weights_bytes + found.host_bytes <= shape.file_bytes + shape.tied_bytes
    assert found.total_bytes == sum(
        (found.weights_bytes, found.cache_bytes, found.graph_bytes, found.overhead_bytes)
    )
    assert found.graph_bytes > 0


def test_a_context_longer_than_was_trained_takes_no_more():
    shape = SHAPES["llama"]
    trained = need(shape, Use(shape.context_length))
    assert need(shape, Use(4 * shape.context_length)) == trained


def test_quantised_caches_take_what_their_blocks_take():
    plain, eighth, quarter = (
        need(SHAPES["qwen3"], Use(8192, 2, kind)).cache_bytes for kind in ("f16", "q8_0", "q4_0")
    )
    assert eighth * 64 == plain * 34
    assert quarter * 64 == plain * 18


@pytest.mark.parametrize("flash", [AUTO, OFF])
def test_an_old_llama_runner_quantises_its_cache_only_where_flash_attention_is_on(flash):
    use = Use(8192, 1, "q8_0", flash, version=OLD)
    assert need(SHAPES["llama"], use).use.cache_type == "f16"
    assert need(SHAPES["llama"], Use(8192, 1, "q8_0", ON, version=OLD)).use.cache_type == "q8_0"


def test_an_embedder_has_one_slot_and_no_cache():
    found = need(SHAPES["bert"], Use(512, 4))
    assert (found.use.num_parallel, found.cache_bytes) == (1, 0)


def test_a_recurrent_layer_keeps_one_state_for_each_slot_however_long_the_context_is():
    """As a real Ollama 0.20.0 tells: 1.78 MiB for one sequence of this model, 3.56 for two."""
    shape = SHAPES["mamba"]
    one, two = (need(shape, Use(4096, slots)).cache_bytes for slots in (1, 2))
    assert (round(one / MIB, 2), round(two / MIB, 2)) == (1.78, 3.56)
    assert need(shape, Use(200_000, 1)).cache_bytes == one


def test_only_windowed_layers_forget():
    """A llama.cpp up to 0.24 keeps the whole context in every layer, all others a window."""
    assert engine_of(SHAPES["gemma2"], OLD) is Engine.LLAMA_RUNNER
    whole = need(SHAPES["gemma2"], Use(32_768, version=OLD)).cache_bytes
    windowed = need(SHAPES["gemma2"], Use(32_768, version=NEW)).cache_bytes
    assert windowed == whole // 2 + whole // 2 * (4096 + 512) // 32_768


def test_a_model_that_looks_at_chunks_keeps_all_of_them_in_ollamas_engine():
    """Llama 4's: kvcache.NewChunkedAttentionCache has the whole context; llama.cpp forgets."""
    chunked = replace(SHAPES["gemma3"], architecture="llama4")
    whole = replace(
        chunked, layers=tuple(replace(layer, window_tokens=0) for layer in chunked.layers)
    )
    old, new = (
        [need(shape, Use(32_768, version=version)).cache_bytes for shape in (chunked, whole)]
        for version in (OLD, NEW)
    )
    assert old[0] == old[1]
    assert new[0] < new[1]


def test_what_several_layers_share_is_kept_once_and_rope_factors_are_in_each():
    """Gemma 3n's last layers have no keys of their own; Phi 3's factors are read in every block."""
    made = MODELS["gemma3"]()
    shared = {**made.metadata, "attention.shared_kv_layers": 2}
    plain, less = (shape_of(head(replace(made, metadata=of))) for of in (made.metadata, shared))
    assert [layer.kv_heads for layer in less.layers[-3:]] == [plain.layers[-3].kv_heads, 0, 0]
    factors = {**made.tensors, "rope_factors_long.weight": (0, (64,))}
    longer = shape_of(head(replace(made, tensors=factors)))
    assert {
        after.weights_bytes - before.weights_bytes
        for after, before in zip(longer.layers, plain.layers, strict=True)
    } == {256}


def test_an_embedder_of_llama_server_reads_2048_tokens_at_once_at_most():
    shape = replace(SHAPES["llama"], embeds=True)
    for context, batch in ((512, 512), (8192, 2048)):
        assert need(shape, Use(context, 4, version=NEW)).use.batch_tokens == batch
    assert need(shape, Use(8192, 4, version=OLD)).use.batch_tokens == 8192


def test_a_batch_of_llama_server_is_of_all_slots():
    for version, batch in ((NEW, 512), (OLD, 256)):
        assert need(SHAPES["llama"], Use(256, 4, version=version)).use.batch_tokens == batch


def test_embeddings_stay_in_main_memory_and_are_on_the_gpu_once_more_where_they_are_tied():
    shape = SHAPES["qwen3"]
    found = need(shape, Use())
    assert found.host_bytes == shape.input_bytes == shape.tied_bytes > 0
    assert found.weights_bytes == shape.file_bytes
    apart = need(SHAPES["llama"], Use())
    assert apart.weights_bytes == SHAPES["llama"].file_bytes - apart.host_bytes


def test_what_ps_is_to_say_is_what_is_allocated_anywhere_and_of_estimates_nothing():
    """A real Ollama 0.20.0 says 596.2 MiB of this Qwen 3; of Llamas it reports an estimate."""
    use = on_cpu(Use(8192))
    assert need(SHAPES["qwen3"], use).reported_bytes / MIB == pytest.approx(596.2, abs=0.06)
    assert need(SHAPES["llama"], use).reported_bytes == 0
    for gpus in (0, 2):
        found = need(SHAPES["qwen3"], Use(8192, gpus=gpus, version=OLD))
        allocated = found.weights_bytes + found.cache_bytes + found.graph_bytes
        assert found.reported_bytes == allocated + found.host_bytes


@pytest.mark.parametrize("gpus", [0, 1, 2])
def test_of_llama_server_ps_says_what_is_on_gpus_and_nothing_beside_them(gpus):
    """What stays in main memory is counted where there is no other: MemorySize of Ollama 0.30."""
    found = need(SHAPES["llama"], Use(8192, gpus=gpus, version=NEW))
    assert found.reported_bytes == found.weights_bytes + found.cache_bytes + found.graph_bytes
    assert bool(found.host_bytes) == bool(gpus)


def test_embeddings_for_each_layer_are_where_the_engine_puts_them():
    """Gemma 3n's: with the output for Ollama's own engine, in main memory for llama.cpp."""
    made = MODELS["gemma3"]()
    tensors = {**made.tensors, "per_layer_token_embd.weight": (8, (1024, 1024))}
    shape = shape_of(head(replace(made, tensors=tensors)))
    old, new = (need(shape, Use(version=version)) for version in (OLD, NEW))
    assert shape.per_layer_bytes == 1024 * 1024 // 32 * 34
    assert old.weights_bytes - new.weights_bytes == shape.per_layer_bytes
    assert new.host_bytes - old.host_bytes == shape.per_layer_bytes


def test_every_gpu_has_a_graph_and_an_overhead_of_its_own():
    one, two = need(SHAPES["llama"], Use(gpus=1)), need(SHAPES["llama"], Use(gpus=2))
    assert two.graph_bytes >= 2 * one.graph_bytes
    assert two.overhead_bytes == 2 * one.overhead_bytes
    assert two.weights_bytes == one.weights_bytes


@pytest.mark.parametrize(
    ("kind", "elements", "size_bytes"),
    [(0, 3, 12), (8, 33, 68), (12, 256, 144), (39, 64, 34), (41, 128, 18), (42, 65, 36)],
)
def test_a_tensor_takes_whole_blocks_of_its_type_padded(kind, elements, size_bytes):
    assert tensor_bytes(Tensor("t", (elements,), kind, 0)) == -(-size_bytes // 32) * 32


@pytest.mark.parametrize("kind", [5, 31, 36, 43, 2**31])
def test_weights_of_a_type_that_is_not_known_are_told_by_nobody(kind):
    """Taken for f16, a model of one bit would be refused for sixteen times its size."""
    metadata = {"general.architecture": "llama", "llama.block_count": 1}
    with pytest.raises(ValueError, match=f"unknown type {kind}"):
        shape_of(Head(3, metadata, {}, (Tensor("blk.0.attn_q.weight", (32, 32), kind, 0),)))


def test_the_arithmetic_names_each_part_and_the_slots():
    text = explain(need(SHAPES["llama"], Use(8192, 4, "q8_0")))
    for part in ("weights", "cache", "graph", "overhead", "4 x 8192 tokens in q8_0", "MiB"):
        assert part in text


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({}, "no language model"),
        ({"general.architecture": "clip", "clip.vision.block_count": 27}, "no language model"),
        ({"general.architecture": "llama", "llama.block_count": 10**6}, "no language model"),
        ({"general.architecture": "llama", "llama.block_count": -1}, "block_count is -1"),
        ({"general.architecture": "x", "x.block_count": 2, "split.count": 3}, "several files"),
        (
            {
                "general.architecture": "x",
                "x.block_count": 2,
                "x.expert_count": 2,
                "x.expert_used_count": 3,
            },
            "of its 2 experts 3 are used",
        ),
        (
            {"general.architecture": "x", "x.block_count": 2, "x.context_length": 2**60},
            "context_length is",
        ),
    ],
)
def test_a_file_of_which_no_memory_can_be_told_is_refused_with_the_reason(metadata, reason):
    with pytest.raises(ValueError, match=reason):
        shape_of(Head(3, metadata, {}, ()))


@given(
    st.dictionaries(
        st.sampled_from([
            "attention.head_count", "attention.head_count_kv", "embedding_length",
            "attention.key_length", "attention.sliding_window", "expert_count",
            "feed_forward_length", "context_length", "ssm.state_size", "ssm.inner_size",
            "attention.sliding_window_pattern", "full_attention_interval", "vision.patch_size",
            "vision.image_size", "attention.shared_kv_layers", "expert_used_count",
        ]),
        st.one_of(
            st.integers(0, 2**17), st.booleans(), st.floats(), st.text(max_size=3),
            st.lists(st.integers(0, 4096), max_size=6).map(tuple),
        ),
    ),
    st.sampled_from(["llama", "qwen35", "gemma3", "bert", "gpt-oss", "deepseek2"]),
    USES,
)  # fmt: skip
@settings(max_examples=50, deadline=None)
def test_whatever_metadata_says_there_is_a_sum_or_a_reason(metadata, architecture, use):
    own = {f"{architecture}.{key}": value for key, value in metadata.items()}
    own |= {"general.architecture": architecture, f"{architecture}.block_count": 3}
    with suppress(ValueError):
        assert need(shape_of(Head(3, own, {}, ())), use).total_bytes >= 0


def test_a_hybrid_takes_what_llama_server_told_of_it_on_a_card():
    """Qwen 3.5 9B: of four layers one attends, three keep a state. MiB as in its log."""
    own = {
        "block_count": 32, "context_length": 262_144, "embedding_length": 4096,
        "feed_forward_length": 12_288, "attention.head_count": 16, "attention.head_count_kv": 4,
        "attention.key_length": 256, "attention.value_length": 256, "full_attention_interval": 4,
        "ssm.conv_kernel": 4, "ssm.state_size": 128, "ssm.group_count": 16, "ssm.inner_size": 4096,
    }  # fmt: skip
    metadata = {"general.architecture": "qwen35", **{f"qwen35.{k}": v for k, v in own.items()}}
    attends = ("attn_q", "attn_k", "attn_v", "attn_output", "attn_q_norm", "attn_k_norm")
    tensors = [Tensor("token_embd.weight", (4096, 248_320), 12, 0)]
    for block in range(32):
        inside = attends if block % 4 == 3 else ("ssm_out",)
        names = (f"blk.{block}.{part}.weight" for part in (*inside, "ffn_up", "ffn_gate"))
        tensors.extend(Tensor(name, (32, 1), 8, 0) for name in names)
    found = need(shape_of(Head(3, metadata, {}, tuple(tensors))), Use(262_144, 4, "q8_0", ON))
    assert found.use.num_parallel == 1
    assert found.cache_bytes / MIB == 4352 + 50.25
    assert found.graph_bytes / MIB == pytest.approx(808.02, rel=0.02)
