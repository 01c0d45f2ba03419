"""The feed-forward part of a block as steps of a graph: gated, plain, or of experts. Pure.

The steps are those of llama.cpp's `build_ffn` and `build_moe_ffn`, and of Ollama's models.
"""

from typing import Final

from ollama_fleet.vram.graph.settings import ELEMENT_BYTES
from ollama_fleet.vram.graph.tape import Tape
from ollama_fleet.vram.layers import Layer
from ollama_fleet.vram.shape import ModelShape

_FUSED: Final = frozenset({"phi3", "chatglm", "glm4"})  # one matrix makes gate and up at once


def feed_forward(tape: Tape, shape: ModelShape, layer: Layer, tokens: int, normed: int) -> int:
    """What it makes of normed tokens, before they are added to where they came from."""
    if "ffn_gate_inp" in layer.parts:
        made = _experts(tape, shape, layer, tokens, normed)
        if "ffn_up_shexp" not in layer.parts:
            return made
        hidden = layer.shared_hidden or shape.expert_width
        return tape.over(made, _dense(tape, shape, hidden, tokens, normed, gated=True))
    gated = "ffn_gate" in layer.parts
    hidden = layer.hidden
    made = _dense(tape, shape, hidden, tokens, normed, gated=gated)
    return tape.over(made) if "ffn_down.bias" in layer.parts else made


def _dense(
    tape: Tape, shape: ModelShape, hidden: int, tokens: int, normed: int, *, gated: bool
) -> int:
    inside = ELEMENT_BYTES * tokens * hidden
    if not gated and shape.architecture in _FUSED:
        made = tape.new(inside, tape.new(2 * inside, normed))
    else:
        made = tape.new(inside, normed)
        made = tape.new(inside, made, tape.new(inside, normed)) if gated else tape.over(made)
    return tape.new(ELEMENT_BYTES * tokens * shape.width, made)


def _experts(tape: Tape, shape: ModelShape, layer: Layer, tokens: int, normed: int) -> int:
    """Chosen by the router, each token's are computed side by side and summed one by one."""
    experts, used = shape.experts
    each = ELEMENT_BYTES * tokens
    scores = tape.over(tape.new(each * experts, normed))
    chosen = tape.new(each * experts, scores)
    weights = tape.new(each * used, scores, chosen)
    weights = tape.over(weights, tape.new(each, weights))
    inside = each * used * (shape.expert_width or layer.hidden)
    gate, up = tape.new(inside, normed, chosen), tape.new(inside, normed, chosen)
    if "ffn_gate_exps.bias" in layer.parts:
        gate, up = tape.over(gate, chosen), tape.over(up, chosen)
    made = tape.new(each * used * shape.width, tape.new(inside, gate, up), chosen)
    if "ffn_down_exps.bias" in layer.parts:
        made = tape.over(made, chosen)
    made = tape.over(made, weights)
    if used < 2:
        return made
    total = tape.new(each * shape.width, made, made)
    for _ in range(used - 2):
        total = tape.over(total, made)
    return total
