"""What a request's body must keep to, and what its client is told where it does not."""

from dataclasses import dataclass
from pathlib import Path


class BadBody(Exception):
    """A request's body cannot be taken; `status` is what its client is told."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class TooLarge(BadBody):
    """A body has more bytes than it may."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(413, f"the request body is larger than {limit_bytes} bytes")


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes a body may have, seconds its next piece may take, where large ones are spooled.

    `spool` is a directory, the system's for temporary files by default.
    """

    body_bytes: int
    body_timeout_s: float
    spool: Path | None = None
