"""What a client's connection must keep to."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bounds:
    """Seconds that a client may take, and bytes and lines that a head may have.

    `header_timeout_s` is for a head, `idle_timeout_s` for the next to begin, `write_timeout_s` for
    more of an answer to be taken. `line_bytes` is for the request line, and for each header.
    """

    header_timeout_s: float = 10.0
    idle_timeout_s: float = 75.0  # nginx's; a client's pool should give up before we do
    write_timeout_s: float = 30.0
    head_bytes: int = 32 * 1024
    line_bytes: int = 8 * 1024
    headers: int = 100
