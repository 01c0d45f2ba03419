"""How ggml lays intermediate results into one buffer: its ggml-alloc.c, on sizes alone. Pure."""

from typing import Final

from ollama_fleet.vram.tensors import padded

_ENDLESS: Final = 2**62


class Arena:
    """A buffer as long as it has to be; what is freed is used again by what fits it best."""

    def __init__(self) -> None:
        self.peak_bytes = 0
        self._free: list[tuple[int, int]] = [(0, _ENDLESS)]  # offset, size; by offset

    def take(self, size_bytes: int) -> int:
        """The offset of a new piece: in the smallest hole that holds it, else at the end."""
        size = padded(size_bytes)
        holes = [(hole[1], -at) for at, hole in enumerate(self._free[:-1]) if hole[1] >= size]
        at = -min(holes)[1] if holes else len(self._free) - 1
        offset, room = self._free[at]
        self._free[at : at + 1] = [(offset + size, room - size)] if room > size else []
        self.peak_bytes = max(self.peak_bytes, offset + size)
        return offset

    def give(self, offset: int, size_bytes: int) -> None:
        """Free a piece, and join the holes that it parted."""
        joined: list[tuple[int, int]] = []
        for start, size in sorted([*self._free, (offset, padded(size_bytes))]):
            if joined and sum(joined[-1]) == start:
                joined[-1] = joined[-1][0], joined[-1][1] + size
            else:
                joined.append((start, size))
        self._free = joined
