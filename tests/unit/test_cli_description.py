"""`fleet show`: what people see of one model, from an answer that is not trusted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ollama_fleet.cli.description import describe

ANSWER = {
    "license": "LICENCE AGREEMENT\n\nfirst clause\nsecond clause\n",
    "system": "You are terse.",
    "parameters": 'stop                           "<|end|>"\nnum_ctx                        8192',
    "details": {"family": "llama", "parameter_size": "8.0B", "quantization_level": "Q4_K_M"},
    "model_info": {
        "general.architecture": "llama",
        "general.parameter_count": 8030261248,
        "llama.context_length": 131072,
        "llama.embedding_length": 4096,
        "tokenizer.ggml.tokens": ["a", "b", "c", "d"],
    },
    "capabilities": ["completion", "tools"],
    "tensors": [{"name": "output.weight", "type": "Q6_K", "shape": [4096, 128256]}],
}
SHOWN = """\
  Model
    architecture        llama
    parameters          8.0B
    context length      131072
    embedding length    4096
    quantization        Q4_K_M

  Capabilities
    completion
    tools

  Parameters
    stop       "<|end|>"
    num_ctx    8192

  System
    You are terse.

  License
    LICENCE AGREEMENT
    first clause
    ...

  Where
    gpu0    gpu
    gpu1    disk"""


def at(instance, presence="on_disk", memory_bytes=0, vram_bytes=0):
    return {
        "instance": instance,
        "presence": presence,
        "memory_bytes": memory_bytes,
        "vram_bytes": vram_bytes,
    }


def model(*places, digest="d1", conflict=False):
    return {"digest": digest, "conflict": conflict, "remote": "", "places": places}


def test_a_model_is_shown_as_ollama_shows_it_and_where_it_is():
    assert describe(ANSWER, [model(at("gpu0", "resident", 9, 9), at("gpu1"))], "gpu0") == SHOWN


def test_what_a_model_is_not_said_to_have_is_not_shown():
    assert describe({"details": {"family": "bert"}}, [], "") == "  Model\n    architecture    bert"
    counted = {"model_info": {"general.parameter_count": 8030261248}}
    assert describe(counted, [], "") == "  Model\n    parameters    8.0B"


def test_what_it_takes_is_shown_as_computed_and_as_measured_where_it_was():
    plain = {"slots": 4, "context_length": 8192, "cache_type": "f16", "computed_bytes": 3 * 2**30}
    footprints = [
        {"instance": "gpu0", **plain, "measured_bytes": 2**31},
        {"instance": "gpu1", **plain, "measured_bytes": 0},
    ]
    assert describe({}, [], "", footprints=footprints).splitlines() == [
        "  Memory",
        "    gpu0    3.0 GiB computed    2.0 GiB measured    4 x 8192 tokens in f16",
        "    gpu1    3.0 GiB computed    not measured    4 x 8192 tokens in f16",
    ]


def test_verbose_adds_metadata_and_tensors():
    shown = describe(ANSWER, [], "", verbose=True)
    assert "\n    tokenizer.ggml.tokens      [a, b, c, +1 more]\n" in shown
    assert shown.count("\n  Tensors\n    output.weight    Q6_K    4096 x 128256\n") == 1
    assert "Tensors" not in describe(ANSWER, [], "")


def test_a_model_that_another_server_runs_says_which():
    shown = describe({"remote_model": "big", "remote_host": "https://ollama.com"}, [], "")
    assert shown.splitlines()[1:] == [
        "    remote model    big",
        "    remote URL      https://ollama.com",
    ]


def test_different_models_of_one_name_are_told_apart():
    """And which of them it is that is shown."""
    models = [
        model(at("a"), digest="d1" * 32, conflict=True),
        model(at("b"), digest="d2" * 32, conflict=True),
    ]
    assert describe({}, models, "b") == (
        "  Where\n"
        "    a    disk    d1d1d1d1d1d1    another model\n"
        "    b    disk    d2d2d2d2d2d2    shown here"
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=9,
)


@given(st.dictionaries(st.sampled_from([*ANSWER, "projector_info"]), JSON))
def test_whatever_is_answered_can_be_shown_and_drives_no_terminal(answer):
    shown = describe(answer, [], "", verbose=True)
    assert all(line.isprintable() for line in shown.split("\n"))


@pytest.mark.parametrize("part", ["model_info", "projector_info"])
def test_the_parts_of_an_image_model_are_told(part):
    info = {
        "general.architecture": "clip",
        "general.parameter_count": 428_000_000,
        "clip.vision.embedding_length": 1024,
        "clip.vision.projection_dim": 768,
    }
    shown = describe({part: info}, [], "")
    assert ("dimensions" in shown) == (part == "projector_info")
    assert "428.0M" in shown
