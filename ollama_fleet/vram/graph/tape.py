"""A compute graph as a list of steps, and the memory that it takes to go through them. Pure.

The rules are those of ggml's ggml-alloc.c: a result lies in memory from its step to the last one
that reads it; an elementwise step writes over its operand if nobody else reads that; what the graph
is given lies there from the start.
"""

from dataclasses import dataclass

from ollama_fleet.vram.graph.arena import Arena


@dataclass(frozen=True, slots=True)
class _Step:
    size_bytes: int
    reads: tuple[int, ...]
    over: bool
    given: bool
    kept: bool


class Tape:
    """Steps in their order. A result is named by the number of its step."""

    def __init__(self) -> None:
        self._steps: list[_Step] = []

    def given(self, size_bytes: int) -> int:
        """An input: there from the start until it has been read for the last time."""
        return self._add(size_bytes, (), over=False, given=True)

    def kept(self, size_bytes: int) -> int:
        """An input that stays to the end."""
        return self._add(size_bytes, (), over=False, given=True, kept=True)

    def new(self, size_bytes: int, *reads: int) -> int:
        """A step with a result of its own."""
        return self._add(size_bytes, reads, over=False)

    def over(self, *reads: int) -> int:
        """An elementwise step: its result takes the place of the first operand that it may."""
        return self._add(self._steps[reads[0]].size_bytes, reads, over=True)

    def store(self, *reads: int) -> None:
        """A step that writes elsewhere: into a cache."""
        self._add(0, reads, over=False)

    def peak_bytes(self) -> int:
        """The length of the buffer that all of it fits in."""
        arena = Arena()
        readers = [0] * len(self._steps)
        for step in self._steps:
            for read in step.reads:
                readers[read] += 1
        places = {
            number: arena.take(step.size_bytes)
            for number, step in enumerate(self._steps)
            if step.given
        }
        for number, step in enumerate(self._steps):
            heir = next((r for r in step.reads if r in places and readers[r] == 1), None)
            if step.over and heir is not None:
                places[number] = places.pop(heir)
            elif step.size_bytes and not step.given:
                places[number] = arena.take(step.size_bytes)
            for read in step.reads:
                readers[read] -= 1
                if readers[read] == 0 and read in places:
                    arena.give(places.pop(read), self._steps[read].size_bytes)
        return arena.peak_bytes

    def _add(
        self,
        size_bytes: int,
        reads: tuple[int, ...],
        *,
        over: bool,
        given: bool = False,
        kept: bool = False,
    ) -> int:
        self._steps.append(_Step(size_bytes, reads, over, given, kept))
        return len(self._steps) - 1
