"""Attention as steps of a graph: queries, keys, values, their scores, what they gather. Pure.

The steps are those of Ollama's ml/nn/attention.go and of llama.cpp's `build_attn_mha`.
"""

from ollama_fleet.vram.cache import cells_of
from ollama_fleet.vram.graph.settings import ELEMENT_BYTES, INDEX_BYTES, MASK_BYTES, Settings
from ollama_fleet.vram.graph.tape import Tape
from ollama_fleet.vram.layers import Layer


class Masks:
    """Which cells a token may see, once for each kind of layer: the whole context, or a window."""

    def __init__(self, tape: Tape, settings: Settings) -> None:
        self._tape, self._settings = tape, settings
        self._brought: dict[bool, int] = {}
        self._cast: dict[bool, int] = {}

    def cells(self, layer: Layer) -> int:
        """Cells of one token's row: llama.cpp keeps those of each slot apart."""
        cells = cells_of(self._settings.shape, layer, self._settings.use)
        return cells if self._settings.own else cells // self._settings.use.num_parallel

    def read(self, layer: Layer) -> tuple[int, ...]:
        """What a step reads to mask a layer: nothing where it lies outside the graph."""
        kind = layer.window_tokens > 0
        brought = (self._brought[kind],) if kind in self._brought else ()
        if not self._settings.flash:
            return brought
        if kind not in self._cast:
            size = MASK_BYTES * self._settings.batch * self.cells(layer)
            self._cast[kind] = self._tape.new(size, *brought)
        return (self._cast[kind],)

    def bring(self, layer: Layer) -> None:
        """Have the mask of such layers in the graph: but for those that read the CPU's own."""
        if self._settings.own and not self._settings.on_gpu:
            return
        size = ELEMENT_BYTES * self._settings.batch * self.cells(layer)
        for _ in range(self._settings.copies - 1):
            self._tape.kept(size)
        self._brought[layer.window_tokens > 0] = self._tape.given(size)


class Attention:
    """Writes the attention of one layer after another."""

    def __init__(self, tape: Tape, settings: Settings) -> None:
        self._tape, self._settings = tape, settings
        self._positions = tape.given(ELEMENT_BYTES * settings.batch)
        self._indexes: dict[bool, tuple[int, ...]] = {}
        self._masks = Masks(tape, settings)
        for layer in settings.shape.layers:
            if layer.kv_heads and (layer.window_tokens > 0) not in self._indexes:
                self._indexes[layer.window_tokens > 0] = self._given_indexes()
                self._masks.bring(layer)

    def steps(self, layer: Layer, normed: int) -> int:
        """What it makes of normed tokens, before they are added to where they came from."""
        tape = self._tape
        keys, values = layer.kv_heads * layer.key_length, layer.kv_heads * layer.value_length
        if "attn_qkv" in layer.parts:
            return self._out(layer, self._gathered(layer, self._fused(layer, normed)))
        if "attn_k_b" in layer.parts:
            gathered = self._gathered(layer, self._latent(layer, normed))
            return self._out(layer, self._spread(layer, gathered))
        queries = self._projected(layer, "q", layer.heads * layer.key_length, normed)
        if layer.kv_heads:
            first, second = ("k", "v") if self._keys_first else ("v", "k")
            sizes = {"k": keys, "v": values}
            made = {
                what: self._projected(layer, what, sizes[what], normed) for what in (first, second)
            }
            indexes = self._indexes[layer.window_tokens > 0]
            tape.store(made["k"], *indexes)
            tape.store(made["v"], *indexes)
        return self._out(layer, self._gathered(layer, queries))

    def _out(self, layer: Layer, gathered: int) -> int:
        size = ELEMENT_BYTES * self._settings.batch * self._settings.shape.width
        out = self._tape.new(size, gathered)
        return self._tape.over(out) if "attn_output.bias" in layer.parts else out

    def _fused(self, layer: Layer, normed: int) -> int:
        """Queries, where one matrix makes queries, keys and values at once."""
        tape, each = self._tape, ELEMENT_BYTES * self._settings.batch
        queries = each * layer.heads * layer.key_length
        keys, values = layer.kv_heads * layer.key_length, layer.kv_heads * layer.value_length
        made = tape.new(queries + each * (keys + values), normed)
        if "attn_qkv.bias" in layer.parts:
            made = tape.over(made)
        turned = tape.new(queries, made, self._positions)
        indexes = self._indexes.get(layer.window_tokens > 0, ())
        tape.store(tape.new(each * keys, made, self._positions), *indexes)
        tape.store(made, *indexes)
        return turned

    def _latent(self, layer: Layer, normed: int) -> int:
        """Queries, where keys and values are one compressed head: they are taken into its space."""
        tape, each = self._tape, ELEMENT_BYTES * self._settings.batch
        turned = layer.key_length - layer.value_length
        raw = tape.new(each * layer.heads * layer.latent[0], normed)
        position = tape.new(each * layer.heads * turned, raw, self._positions)
        content = tape.new(each * layer.heads * layer.value_length, raw)
        queries = tape.new(each * layer.heads * layer.key_length, position, content)
        both = tape.new(each * layer.key_length, normed)
        position = tape.new(each * turned, both, self._positions)
        values = tape.over(tape.new(each * layer.value_length, both))
        indexes = self._indexes.get(layer.window_tokens > 0, ())
        tape.store(tape.new(each * layer.key_length, position, values), *indexes)
        tape.store(values, *indexes)
        return queries

    def _spread(self, layer: Layer, gathered: int) -> int:
        """What was gathered from the compressed head, head by head again."""
        size = ELEMENT_BYTES * self._settings.batch * layer.heads * layer.latent[1]
        return self._tape.new(size, self._tape.new(size, gathered))

    @property
    def _keys_first(self) -> bool:
        return self._settings.own or any(x.window_tokens for x in self._settings.shape.layers)

    def _projected(self, layer: Layer, what: str, elements: int, normed: int) -> int:
        """Queries, keys or values: multiplied, biased, normed, turned by their position.

        What is reshaped into heads is never written over: the step after that has its own place.
        """
        tape = self._tape
        size = ELEMENT_BYTES * self._settings.batch * elements
        made = tape.new(size, normed)
        if f"attn_{what}.bias" in layer.parts:
            made = tape.over(made)
        if what == "v":
            return made
        if f"attn_{what}_norm" in layer.parts:
            made = tape.over(tape.new(size, made))
            return tape.over(made, self._positions)
        return tape.new(size, made, self._positions)

    def _gathered(self, layer: Layer, queries: int) -> int:
        tape, batch = self._tape, self._settings.batch
        size = ELEMENT_BYTES * batch * layer.heads * layer.value_length
        mask = self._masks.read(layer)
        if self._settings.flash:
            return tape.new(size, queries, *mask)
        cells = self._masks.cells(layer)
        scores = tape.new(ELEMENT_BYTES * batch * cells * layer.heads, queries)
        return tape.new(size, tape.new(size, tape.over(scores, *mask)))

    def _given_indexes(self) -> tuple[int, ...]:
        """Where keys and values go; without flash attention llama.cpp says it for each element."""
        if self._settings.own:
            return ()
        batch = self._settings.batch
        widest = max((x.kv_heads * x.value_length for x in self._settings.shape.layers), default=0)
        each = 1 if self._settings.flash else widest
        given = self._tape.given
        return given(INDEX_BYTES * batch), given(INDEX_BYTES * batch * each)
