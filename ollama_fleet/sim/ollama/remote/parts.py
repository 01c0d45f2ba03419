"""What of a blob is on disk: `<blob>-partial`, and `<blob>-partial-<n>` about each part of it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MOST_PARTS = 16
SMALLEST_BYTES, LARGEST_BYTES = 100_000_000, 1_000_000_000


@dataclass(slots=True)
class Part:
    """A piece of a blob. `completed` counts bytes from its offset on that are on disk for good."""

    number: int
    offset: int
    size: int
    completed: int = 0

    @property
    def starts_at(self) -> int:
        """The first byte that is missing."""
        return self.offset + self.completed

    @property
    def left(self) -> int:
        """Bytes that are missing."""
        return self.size - self.completed


def divided(size_bytes: int) -> Iterator[Part]:
    """The parts of a blob of which nothing is there yet."""
    each = min(max(size_bytes // MOST_PARTS, SMALLEST_BYTES), LARGEST_BYTES)
    for number, offset in enumerate(range(0, size_bytes, each)):
        yield Part(number, offset, min(each, size_bytes - offset))


def partial(blob: Path) -> Path:
    """Where a blob grows."""
    return blob.with_name(f"{blob.name}-partial")


def read(blob: Path) -> list[Part]:
    """The parts that an earlier download has left; none if there was no such.

    Raises ValueError, in Go's words, for a file that was being written when its writer died.
    """
    return [_read(path) for path in sorted(blob.parent.glob(f"{blob.name}-partial-*"))]


def write(blob: Path, part: Part) -> None:
    """Write down how far a part is. As Ollama does it: not at once, but over the old record."""
    record = {
        "N": part.number,
        "Offset": part.offset,
        "Size": part.size,
        "Completed": part.completed,
    }
    text = json.dumps(record, separators=(",", ":"))
    blob.with_name(f"{blob.name}-partial-{part.number}").write_text(f"{text}\n")


def forget(blob: Path, parts: list[Part]) -> None:
    """Remove the records of a blob that is whole."""
    for part in parts:
        blob.with_name(f"{blob.name}-partial-{part.number}").unlink()


def _read(path: Path) -> Part:
    text = path.read_text()
    try:
        record = json.loads(text)
        return Part(record["N"], record["Offset"], record["Size"], record["Completed"])
    except (ValueError, KeyError, TypeError):
        raise ValueError("unexpected EOF" if text else "EOF") from None
