"""What is asked of a fleet in a replay, and what became of it. Records only."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload


class Span(Sequence[str]):
    """Tokens `start` to `stop` of a text that is known by a number only: none is ever made.

    Two spans of one text are equal where they cover the same tokens; two texts have none in common.
    It stands where a simulated server compares a prompt with what its slots remember.
    """

    __slots__ = ("start", "stop", "text")

    def __init__(self, text: int, stop: int, start: int = 0) -> None:
        self.text, self.start, self.stop = text, start, stop

    def __len__(self) -> int:
        return self.stop - self.start

    @overload
    def __getitem__(self, at: int) -> str: ...

    @overload
    def __getitem__(self, at: slice) -> "Span": ...

    def __getitem__(self, at: int | slice) -> "str | Span":
        if isinstance(at, slice):
            first, last, _ = at.indices(len(self))
            return Span(self.text, self.start + max(first, last), self.start + first)
        return f"{self.text}-{range(self.start, self.stop)[at]}"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Span):
            return NotImplemented
        covers = self.start, self.stop
        return covers == (other.start, other.stop) and (self.text == other.text or not len(self))

    def __hash__(self) -> int:
        return hash((self.text, self.start, self.stop))


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """A request of a replay: when it comes, and its true lengths, which no router knows.

    `arrival_s` counts from the start of the replay; where it `follows` another job (its place in
    the workload), from the end of that one. The prompt is the first `prompt_tokens` of `text`, a
    number: jobs of one text continue one another, and a slot that remembers the one need not
    evaluate its tokens again for the other. Without `stream` its client gets the answer whole.
    """

    arrival_s: float
    model: str
    prompt_tokens: int
    output_tokens: int
    text: int
    tenant: str = ""
    follows: int | None = None
    stream: bool = True


@dataclass(slots=True, eq=False)
class Fate:
    """What became of a job; times in seconds from the start of the replay.

    `number` is its place in the workload; `instance` is who answered it, "" while nobody has;
    `tries` counts the instances it was given to. `refused` says why it was not served at all.
    """

    job: Job
    arrived_s: float
    number: int = 0
    started_s: float = 0.0
    first_s: float = 0.0
    ended_s: float = 0.0
    instance: str = ""
    tries: int = 0
    refused: str = ""

    @property
    def wait_s(self) -> float:
        """From its arrival to the beginning of its prefill."""
        return self.started_s - self.arrived_s

    @property
    def latency_s(self) -> float:
        """From its arrival to its last token."""
        return self.ended_s - self.arrived_s

    @property
    def ttft_s(self) -> float:
        """From its arrival to its first token."""
        return self.first_s - self.arrived_s
