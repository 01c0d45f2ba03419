"""What a strategy is made from: what the fleet has learned of its speed, and a source of chance."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar
from weakref import ReferenceType, ref

from ollama_fleet.estimate import Ask, Prefixes, Speed
from ollama_fleet.router.intake import Request
from ollama_fleet.router.policy import View

if TYPE_CHECKING:
    from random import Random

    from ollama_fleet.router.strategies.expectations import Expectations


class Speeds(Protocol):
    """How long things take: what was learned (estimate.Estimates), or in a replay the truth."""

    def speed(self, instance: str, weights: str) -> Speed:
        """How fast some weights run on an instance."""
        ...

    def load_s(self, instance: str, size_bytes: float, *, from_memory: bool = False) -> float:
        """Seconds until weights of that size are in memory, once an instance begins to load."""
        ...

    def remaining_tokens(self, ask: Ask, written: float) -> float:
        """Tokens still to be expected of an answer of which so many are written."""
        ...

    def prompt_tokens(self, key: str, text_bytes: int) -> float:
        """Tokens that a prompt of so many bytes comes to."""
        ...


@dataclass(frozen=True, slots=True)
class Tools:
    """What a strategy may use. `model_aware` is what the configuration says of all of them.

    `expected` is given where others ask for the same; else a strategy that needs it makes its own.
    """

    speeds: Speeds
    rng: "Random"
    model_aware: bool = True
    prefixes: Prefixes = field(default_factory=Prefixes)
    expected: "Expectations | None" = None


_Found = TypeVar("_Found")


class OncePerRequest(Generic[_Found]):
    """Something that is found once for a request, not for each instance that is asked about it."""

    def __init__(self, find: Callable[[Request, View], _Found]) -> None:
        self._find = find
        self._of: tuple[ReferenceType[Request], float] | None = None
        self._found: _Found

    def __call__(self, request: Request, view: View, now_s: float) -> _Found:
        """What there is for this request at this moment."""
        of = self._of
        if of is None or of[0]() is not request or of[1] != now_s:
            self._of = ref(request), now_s
            self._found = self._find(request, view)
        return self._found
