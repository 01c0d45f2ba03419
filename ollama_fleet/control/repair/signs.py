"""Signs of life: tokens that pass, and answers of models that came to an end."""

from collections import Counter
from collections.abc import Callable
from typing import Self

from ollama_fleet.errors import Failure
from ollama_fleet.state import Completed, Instance, Lease, State


class Signs:
    """Counts them while it is entered. `clock` gives monotonic seconds."""

    def __init__(self, state: State, clock: Callable[[], float]) -> None:
        self._state, self._clock = state, clock
        self._answers: Counter[Instance] = Counter()
        self._last: dict[Instance, tuple[int, float]] = {}  # their number, and since when

    def __enter__(self) -> Self:
        self._state.on_outcome.append(self._ended)
        return self

    def __exit__(self, *_exc: object) -> None:
        self._state.on_outcome.remove(self._ended)

    def of(self, instance: Instance) -> int:
        """A number that grows with each."""
        return self._answers[instance] + instance.tokens

    def given(self, instance: Instance) -> None:
        """Count a token that was given to the fleet itself."""
        self._answers[instance] += 1

    def quiet_s(self, instance: Instance) -> float:
        """For how long there was none, as far as has been looked."""
        number, now_s = self.of(instance), self._clock()
        before = self._last.get(instance)
        if before is None or before[0] != number:
            self._last[instance] = before = number, now_s
        return now_s - before[1]

    def leave(self, instance: Instance) -> None:
        """It is no more."""
        self._answers.pop(instance, None)
        self._last.pop(instance, None)

    def _ended(self, lease: Lease, outcome: Completed | Failure) -> None:
        # A server that lists its models may well have a runner that hangs.
        if isinstance(outcome, Completed) and lease.residency is not None:
            self._answers[lease.instance] += 1
