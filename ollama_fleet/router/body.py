"""A request's body where it is not one bytes object: spooled, or passing through."""

from collections.abc import AsyncGenerator
from typing import Protocol


class Body(Protocol):
    """Bytes on their way to an instance, in pieces of at most some 256 KiB."""

    @property
    def size(self) -> int | None:
        """Bytes in all; None if that is not known, and they have to be sent in chunks."""
        ...

    @property
    def replayable(self) -> bool:
        """It may be read again from its beginning, for another attempt."""
        ...

    def pieces(self) -> AsyncGenerator[bytes, None]:
        """Read it. Raises what its source raises where that ends too early or does not go on."""
        ...
