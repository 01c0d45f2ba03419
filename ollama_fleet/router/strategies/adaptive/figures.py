"""What adaptive reckons of an instance, and the figures that follow for one request."""

import math
from collections.abc import Sequence
from typing import Final

from ollama_fleet.router.policy import Figures

Terms = tuple[float, float, float, tuple[str, str]]
"""Of what a request costs, the seconds that do not depend on its length: of the load, the wait and
the eviction; and on which runner, by its instance and weights.
"""

Sketch = tuple[float, float, float, float, float, float, int, float, Terms]
"""Until when it is good; then seconds: what any request costs there, of that a prompt's base, of a
token of a prompt, of the answer, and of one for each other stream; how many others there are, and
the tokens they have left.
"""

_NOWHERE: Final = "", ""


def passing(requests: int) -> Sketch:
    """Of a call that only passes through and needs nothing there: what counts is who else does."""
    terms = requests, 0.0, 0.0, _NOWHERE
    return math.inf, float(requests), 0.0, 0.0, 0.0, 0.0, 0, 0.0, terms


def figures(
    values: Sequence[float],
    sketches: Sequence[Sketch],
    prompt_tokens: Sequence[float],
    output_tokens: float,
    at: int,
) -> Figures:
    """The value of one instance of many, and its terms.

    `prompt_tokens` are what each has to read of the prompt, or just one number where it is the
    same.
    """
    _, fixed_s, base_s, prompt_s, token_s, _, _, _, terms = sketches[at]
    load_s, wait_s, evict_s, _ = terms
    value = values[at]
    prefill_s = base_s + prompt_s * prompt_tokens[at if len(prompt_tokens) > 1 else 0]
    decode_s = token_s * output_tokens
    others_s = max(value - (fixed_s - base_s) - prefill_s - decode_s, 0.0)
    return value, load_s, wait_s, prefill_s, decode_s, others_s, evict_s
