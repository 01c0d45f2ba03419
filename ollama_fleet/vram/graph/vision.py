"""An image encoder's pass over one image as steps of a graph: SigLIP's and CLIP's kind. Pure.

The steps are those of Ollama's model/models/gemma3/model_vision.go, which are those of every such
transformer: patches are cut out, each sees every other, no cache.
"""

from ollama_fleet.vram.graph.settings import ELEMENT_BYTES
from ollama_fleet.vram.graph.tape import Tape
from ollama_fleet.vram.shape import Vision

_HALF_BYTES = 2  # patches are cut out in f16
_COLOURS = 3


def vision(shape: Vision, text_width: int, *, flash: bool) -> Tape:
    """The steps from pixels to what the language model reads, whose width that is."""
    tape = Tape()
    projection = tape.new(_HALF_BYTES * shape.width * text_width)  # turned round before all else
    each = ELEMENT_BYTES * shape.patches
    row = each * shape.width
    cut = tape.new(_HALF_BYTES * shape.patches * _COLOURS * shape.patch_size**2)
    at = tape.new(row, tape.over(tape.new(row, tape.new(row, cut))))
    at = tape.over(at, tape.new(row))
    for _ in range(2):
        at = tape.over(_attended(tape, shape, at, flash=flash), at)
        inside = tape.over(tape.over(tape.new(each * shape.hidden, _normed(tape, row, at))))
        at = tape.over(tape.over(tape.new(row, inside)), at)
    tape.new(row, _normed(tape, row, at), projection)
    return tape


def _attended(tape: Tape, shape: Vision, at: int, *, flash: bool) -> int:
    each = ELEMENT_BYTES * shape.patches
    row = each * shape.width
    normed = _normed(tape, row, at)
    queries = tape.over(tape.new(row, normed))
    keys = tape.over(tape.new(row, normed))
    values = tape.over(tape.new(row, normed))
    if flash:
        gathered = tape.new(row, queries, keys, values)
    else:
        permuted = tape.new(row, values)
        scores = tape.over(tape.new(each * shape.patches * shape.heads, keys, queries))
        gathered = tape.new(row, tape.new(row, permuted, scores))
    return tape.over(tape.new(row, gathered))


def _normed(tape: Tape, row: int, at: int) -> int:
    return tape.over(tape.over(tape.new(row, at)))
