"""What adaptive reckons of an instance, and the figures that follow for one request."""

import math
from collections.abc import Sequence
from typing import Final, NamedTuple, overload

from ollama_fleet.router.policy import Figures


class Terms(NamedTuple):
    """Of what a request costs, the seconds that do not depend on its length; and on which runner.

    `at` are the instance and the weights.
    """

    load_s: float
    wait_s: float
    evict_s: float
    at: tuple[str, str]


Sketch = tuple[float, float, float, float, float, float, int, float, Terms]
"""Until when it is good; then seconds: what any request costs there, of that a prompt's base, of a
token of a prompt, of the answer, and of one for each other stream; how many others there are, and
the tokens they have left.
"""

_NOWHERE: Final = "", ""


def passing(requests: int) -> Sketch:
    """Of a call that only passes through and needs nothing there: what counts is who else does."""
    terms = Terms(requests, 0.0, 0.0, _NOWHERE)
    return math.inf, float(requests), 0.0, 0.0, 0.0, 0.0, 0, 0.0, terms


class Reckoned(Sequence[Figures]):
    """The figures of many instances, in their order: worked out for who reads them.

    `prompt_tokens` are what each has to read of the prompt, one number where it is the same.
    """

    __slots__ = ("_output_tokens", "_prompt_tokens", "_sketches", "_values")

    def __init__(
        self,
        values: list[float],
        sketches: list[Sketch],
        prompt_tokens: list[float] | float,
        output_tokens: float,
    ) -> None:
        self._values = values
        self._sketches = sketches
        self._prompt_tokens = prompt_tokens
        self._output_tokens = output_tokens

    def __len__(self) -> int:
        return len(self._values)

    @overload
    def __getitem__(self, at: int) -> Figures: ...

    @overload
    def __getitem__(self, at: slice) -> list[Figures]: ...

    def __getitem__(self, at: int | slice) -> Figures | list[Figures]:
        """The value of an instance, and its terms."""
        if isinstance(at, slice):
            return [self[n] for n in range(*at.indices(len(self)))]
        _, fixed_s, base_s, prompt_s, token_s, _, _, _, terms = self._sketches[at]
        of_prompt = self._prompt_tokens
        prompt_tokens = of_prompt if isinstance(of_prompt, float) else of_prompt[at]
        value = self._values[at]
        prefill_s = base_s + prompt_s * prompt_tokens
        decode_s = token_s * self._output_tokens
        others_s = max(value - (fixed_s - base_s) - prefill_s - decode_s, 0.0)
        return value, terms.load_s, terms.wait_s, prefill_s, decode_s, others_s, terms.evict_s
