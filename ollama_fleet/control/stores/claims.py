"""The room that copies and downloads under way will yet take, so that none counts on another's."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ollama_fleet.control.stores.records import Disk
from ollama_fleet.control.stores.space import MARGIN_BYTES, Shortage, no_room


class Claims:
    """The ledger: of every claim what it has yet to write, by disk. Does no I/O."""

    def __init__(self, *, margin_bytes: int = MARGIN_BYTES) -> None:
        self._margin_bytes: Final = margin_bytes
        self._claims: set[Claim] = set()

    @contextmanager
    def claim(self) -> Iterator["Claim"]:
        """A claim, empty yet, that is over when this is left."""
        made = Claim(self)
        self._claims.add(made)
        try:
            yield made
        finally:
            self._claims.discard(made)

    def require(self, disk: Disk, where: Path, count_bytes: int) -> None:
        """Raise NotEnoughSpace where a disk cannot take so much besides all that is claimed.

        `where` is a folder on it, for people.
        """
        claimed_bytes = sum(claim.on(disk) for claim in self._claims)
        if count_bytes and disk.free_bytes - claimed_bytes - count_bytes < self._margin_bytes:
            raise no_room(where, Shortage(disk, count_bytes), claimed_bytes)


class Claim:
    """What one copy or download will write, by blob."""

    def __init__(self, ledger: Claims) -> None:
        self._ledger = ledger
        self._rest_bytes: dict[str, tuple[int, int]] = {}  # by digest: a disk's device, and bytes

    def add(self, digest: str, disk: Disk, where: Path, count_bytes: int) -> None:
        """Claim the room for a blob. Raises NotEnoughSpace; then it is not claimed."""
        self._ledger.require(disk, where, count_bytes)
        self._rest_bytes[digest] = disk.device, count_bytes

    def __contains__(self, digest: str) -> bool:
        """Whether a blob has been claimed."""
        return digest in self._rest_bytes

    def left(self, digest: str, rest_bytes: int) -> None:
        """Of a blob that was claimed so much has yet to be written."""
        device, _ = self._rest_bytes[digest]
        self._rest_bytes[digest] = device, max(rest_bytes, 0)

    def on(self, disk: Disk) -> int:
        """Bytes that it will yet write to a disk."""
        return sum(rest for device, rest in self._rest_bytes.values() if device == disk.device)
