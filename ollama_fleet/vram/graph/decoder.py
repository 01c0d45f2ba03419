"""A language model's pass over a batch as steps of a graph. Pure."""

from collections.abc import Sequence
from typing import Final

from ollama_fleet.vram.graph.attention import Attention
from ollama_fleet.vram.graph.feed_forward import feed_forward
from ollama_fleet.vram.graph.settings import ELEMENT_BYTES, Settings
from ollama_fleet.vram.graph.tape import Tape
from ollama_fleet.vram.layers import Layer

_ATTENDS: Final = frozenset({"attn_q", "attn_qkv", "attn_q_b"})
_LAST_NORM: Final = "post_ffw_norm"
_TURNED: Final = frozenset({"phi3"})  # what came before is written over, not what was made of it
_SEEN: Final = 24  # layers after which nothing new comes: twice the longest period of any model


def decoder(settings: Settings) -> Tape:
    """The steps from tokens to logits."""
    pass_ = _Pass(settings)
    layers = _telling(settings.shape.layers)
    for layer in layers[:-1]:
        pass_.layer(layer, is_last=False)
    pass_.layer(layers[-1], is_last=True)
    pass_.logits()
    return pass_.tape


def _telling(layers: Sequence[Layer]) -> Sequence[Layer]:
    return layers if len(layers) <= _SEEN else [*layers[: _SEEN - 1], layers[-1]]


class _Pass:
    """Where a pass stands: `tokens` of the batch are still in it, `_at` is their last result."""

    def __init__(self, settings: Settings) -> None:
        self.tape = tape = Tape()
        self._settings = settings
        self._tokens = settings.batch
        self._row_bytes = ELEMENT_BYTES * settings.shape.width
        words = tape.given(ELEMENT_BYTES * settings.batch)
        for _ in range(settings.copies - 1):
            tape.kept(self._row_bytes * settings.batch)
        self._attention = Attention(tape, settings)
        self._chosen = tape.given(ELEMENT_BYTES * settings.outputs)
        self._at = tape.new(self._row_bytes * settings.batch, words)

    def layer(self, layer: Layer, *, is_last: bool) -> None:
        """One block: attention or a recurrent state, then feed-forward, each added to the rest."""
        tape = self.tape
        if layer.heads and layer.key_length and not layer.recurrent and layer.parts & _ATTENDS:
            made = self._attention.steps(layer, self._normed())
            if is_last:
                made, self._at = self._picked(made), self._picked(self._at)
                self._tokens = self._settings.outputs
            self._add(layer, made, "post_attention_norm")
        elif layer.recurrent:
            self._recur(layer)
        if layer.parts & {"ffn_up", "ffn_gate_inp"}:
            shape = self._settings.shape
            made = feed_forward(tape, shape, layer, self._tokens, self._normed())
            self._add(layer, made, _LAST_NORM)

    def logits(self) -> None:
        """The last norm, and one score for each word that could follow."""
        shape = self._settings.shape
        normed = self.tape.over(self.tape.over(self._at))
        self.tape.new(ELEMENT_BYTES * self._tokens * shape.vocabulary, normed)

    def _normed(self) -> int:
        return self.tape.over(self.tape.new(self._row_bytes * self._tokens, self._at))

    def _picked(self, result: int) -> int:
        return self.tape.new(self._row_bytes * self._settings.outputs, result, self._chosen)

    def _add(self, layer: Layer, made: int, norm: str) -> None:
        if norm in layer.parts:
            made = self.tape.over(self.tape.over(made))
        turned = norm == _LAST_NORM and self._settings.shape.architecture in _TURNED
        self._at = self.tape.over(*((self._at, made) if turned else (made, self._at)))

    def _recur(self, layer: Layer) -> None:
        """A recurrent layer, roughly: what enters it, the same convolved, scanned and gated."""
        tape, inside = (
            self.tape,
            ELEMENT_BYTES * self._tokens * self._settings.shape.recurrence.width,
        )
        entered = tape.new(2 * inside, self._normed())
        scanned = tape.new(inside, tape.new(inside, entered))
        made = tape.new(self._row_bytes * self._tokens, tape.over(scanned, entered))
        self._add(layer, made, "post_attention_norm")
