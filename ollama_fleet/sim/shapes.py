"""What simulated models would take of memory, were they real: shapes from published dimensions.

A simulated model has a size and a number of parameters, and no weights. Its shape is that of the
well known model which is nearest in parameters (the `config.json` of its publisher has the
dimensions), with layers, width and KV heads scaled by the cube root of what they differ by, as
parameters grow with layers x width². Its bytes are spread evenly over its parameters.
"""

import math
from dataclasses import dataclass
from typing import Final

from ollama_fleet.names import ModelName
from ollama_fleet.sim.ollama.profile import Model, Profile
from ollama_fleet.vram import ModelShape
from ollama_fleet.vram.layers import Layer

_UNITS: Final = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
_PARTS: Final = frozenset({
    "attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down",
})  # fmt: skip
_LARGEST_SHARE: Final = 0.25  # of all parameters, that token embeddings may be


@dataclass(frozen=True, slots=True)
class Dimensions:
    """Of a published model; lengths in elements."""

    parameters: float
    layers: int
    width: int
    heads: int
    kv_heads: int
    head_length: int
    hidden: int
    vocabulary: int


CHAT: Final = (
    Dimensions(1.24e9, 16, 2048, 32, 8, 64, 8192, 128256),  # llama3.2:1b
    Dimensions(3.21e9, 28, 3072, 24, 8, 128, 8192, 128256),  # llama3.2:3b
    Dimensions(7.25e9, 32, 4096, 32, 8, 128, 14336, 32768),  # mistral:7b
    Dimensions(8.03e9, 32, 4096, 32, 8, 128, 14336, 128256),  # llama3.1:8b
    Dimensions(8.19e9, 36, 4096, 32, 8, 128, 12288, 151936),  # qwen3:8b
    Dimensions(14.8e9, 40, 5120, 40, 8, 128, 17408, 151936),  # qwen3:14b
    Dimensions(32.8e9, 64, 5120, 64, 8, 128, 25600, 151936),  # qwen3:32b
    Dimensions(70.6e9, 80, 8192, 64, 8, 128, 28672, 128256),  # llama3.3:70b
)
EMBEDDING: Final = (Dimensions(137e6, 12, 768, 12, 12, 64, 3072, 30522),)  # nomic-embed-text


def profile_shapes(profile: Profile) -> dict[str, ModelShape]:
    """The shapes of a profile's models, by model key."""
    return {ModelName.parse(model.name).key: shape_of(model) for model in profile.models}


def shape_of(model: Model) -> ModelShape:
    """The shape that a simulated model would have."""
    parameters = parameters_of(model.parameter_size) or model.size_bytes
    known = EMBEDDING if model.embedding else CHAT
    near = min(known, key=lambda each: abs(math.log(each.parameters / parameters)))
    scale = (parameters / near.parameters) ** (1 / 3)
    layers, width = _scaled(near.layers, scale), _scaled(near.width, scale)
    vocabulary = min(near.vocabulary, max(1, int(_LARGEST_SHARE * parameters / width)))
    token_bytes = round(model.size_bytes * vocabulary * width / parameters)
    own_output = 0 if model.embedding else token_bytes
    layer = Layer(
        weights_bytes=(model.size_bytes - token_bytes - own_output) // layers,
        heads=near.heads,
        kv_heads=_scaled(near.kv_heads, scale),
        key_length=near.head_length,
        value_length=near.head_length,
        hidden=_scaled(near.hidden, scale),
        parts=_PARTS,
    )
    return ModelShape(
        architecture=model.family,
        context_length=model.context_length,
        width=width,
        vocabulary=vocabulary,
        layers=(layer,) * layers,
        input_bytes=token_bytes,
        output_bytes=own_output,
        encoder=model.embedding,
        embeds=model.embedding,
    )


def parameters_of(text: str) -> float:
    """How many parameters `70.6B` or `453K` are; 0 for what does not say."""
    number, unit = text[:-1], _UNITS.get(text[-1:].upper(), 0.0)
    try:
        return float(number) * unit
    except ValueError:
        return 0.0


def _scaled(count: int, scale: float) -> int:
    return max(1, round(count * scale))
