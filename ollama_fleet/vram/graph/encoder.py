"""An embedder's pass over a text as steps of a graph: no cache, every token sees every other. Pure.

The steps are those of Ollama's model/models/bert; without a cache attention is never the flash one.
"""

from ollama_fleet.vram.graph.settings import ELEMENT_BYTES, Settings
from ollama_fleet.vram.graph.tape import Tape
from ollama_fleet.vram.layers import Layer


def encoder(settings: Settings) -> Tape:
    """The steps from tokens to their last norm."""
    tape = Tape()
    row = ELEMENT_BYTES * settings.batch * settings.shape.width
    at = tape.over(tape.new(row))
    at = _normed(tape, row, tape.over(at, tape.new(row)))
    for layer in settings.shape.layers[:4]:
        at = _block(tape, settings, layer, at)
    tape.new(row, at)
    return tape


def _block(tape: Tape, settings: Settings, layer: Layer, at: int) -> int:
    each = ELEMENT_BYTES * settings.batch
    row = each * settings.shape.width
    if "attn_qkv" in layer.parts:
        fused = tape.new(3 * row, at)
        queries, keys, permuted = (tape.new(row, fused) for _ in range(3))
    else:
        queries, keys, values = (tape.over(tape.new(row, at)) for _ in range(3))
        permuted = tape.new(row, values)
    scores = tape.over(tape.new(each * settings.batch * layer.heads, keys, queries))
    gathered = tape.new(row, tape.new(row, permuted, scores))
    at = _normed(tape, row, tape.over(tape.over(tape.new(row, gathered)), at))
    inside = tape.over(tape.over(tape.new(each * layer.hidden, at)))
    if "ffn_gate" in layer.parts:
        inside = tape.new(each * layer.hidden, inside, tape.new(each * layer.hidden, at))
    return _normed(tape, row, tape.over(tape.over(tape.new(row, inside)), at))


def _normed(tape: Tape, row: int, at: int) -> int:
    """LayerNorm, unlike RMSNorm, is never written over its operand; weight and bias then are."""
    return tape.over(tape.over(tape.new(row, at)))
