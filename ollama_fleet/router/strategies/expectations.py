"""How much work a request is expected to be: found once, though many ask."""

from typing import Final
from weakref import ReferenceType, ref

from ollama_fleet.estimate import Ask
from ollama_fleet.router.intake import Request
from ollama_fleet.router.strategies.tools import Speeds

_REMEMBERED: Final = 256  # requests


class Expectations:
    """Tokens of prompts and answers, as far as they can be known before they are counted.

    Remembers the requests it was asked about last, but not their bodies.
    """

    __slots__ = ("_known", "_speeds")

    def __init__(self, speeds: Speeds) -> None:
        self._speeds = speeds
        self._known: dict[int, tuple[ReferenceType[Request], tuple[float, float]]] = {}

    def __call__(self, request: Request) -> tuple[float, float]:
        """Tokens of its prompt and of its answer; none of one that takes no slot."""
        if not request.slot:
            return 0.0, 0.0
        known = self._known.get(id(request))
        if known is not None and known[0]() is request:
            return known[1]
        prompt_tokens = self._speeds.prompt_tokens(request.key, request.prompt_bytes)
        ask = Ask(request.key, request.path, prompt_tokens, request.output_cap)
        found = max(prompt_tokens, 1.0), self._speeds.remaining_tokens(ask, 0)
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[id(request)] = ref(request), found
        return found
