"""What clients may send, hold open and take up, and how long each side may take."""

from typing import Final

from pydantic import Field

from ollama_fleet.config.kinds import Count, Duration, Size
from ollama_fleet.config.settings import Record

MAX_CONNECTIONS: Final = 10_000  # of clients, where nothing says another number

HANDSHAKES: Final = 4  # connections for each one that may be in a handshake of TLS besides

_OWN_FILES: Final = 96  # open besides: logs, sockets, stores, connections being turned away
_FILES_OF_INSTANCE: Final = 4  # its output, its log, the connections of ours


class LimitsConfig(Record):
    """What clients may send, hold open and take up, and how long each side may take."""

    connections: Count | None = None
    """Connections that clients may have open, at most half of what the limit of open files leaves,
    with TLS four ninths; one more is answered 503. Unset is 10,000."""
    connections_per_address: Count | None = None
    """How many of them one address may have (of IPv6, one /64); one more is answered 429. Unset is
    1,024 for an address of another machine, and any number for this one."""
    requests_per_client: Count | None = None
    """Requests that one API key or address may have at once, those that wait included; one more is
    answered 429. Unset is 1,024, and any number for this machine without a key."""
    header_bytes: Size = Field(32 * 2**10, alias="header")
    """The largest head of a request; a larger one is answered 431."""
    headers: Count = 100
    """How many header lines it may have."""
    line_bytes: Size = Field(8 * 2**10, alias="line")
    """The longest request line, and the longest header."""
    body_bytes: Size = Field(256 * 2**20, alias="body")
    """The largest request body; a larger one is answered 413."""
    buffered_bytes: Size = Field(512 * 2**20, alias="buffered")
    """Memory that request bodies may take up together; what is more is put on disk meanwhile."""
    spooled_bytes: Size = Field(16 * 2**30, alias="spooled")
    """Disk that they may take up together, in the state directory; one more is answered 503."""
    disk_reserve_bytes: Size = Field(256 * 2**20, alias="disk_reserve")
    """What they leave free of that disk."""
    header_timeout_s: Duration = Field(10.0, alias="header_timeout")
    """Time for a client to send the head of a request, from when it connects or begins it."""
    body_timeout_s: Duration = Field(30.0, alias="body_timeout")
    """Time for a client to send more of a body that has stalled; then it is answered 408."""
    body_rate_bytes_per_s: Size = Field(1024, alias="body_rate")
    """Bytes per second for which a body is given time besides: a slower one is answered 408."""
    write_timeout_s: Duration = Field(30.0, alias="write_timeout")
    """Time for a client to take more of an answer; then it is cut off."""
    keepalive_timeout_s: Duration = Field(75.0, alias="keepalive_timeout")
    """Time for a client to send its next request on a connection; then that is closed."""
    connect_timeout_s: Duration = Field(2.0, alias="connect_timeout")
    """Time for an instance to accept a connection."""
    first_byte_timeout_s: Duration = Field(600.0, alias="first_byte_timeout")
    """Time for an instance to begin a streamed answer, the load of a model included."""
    whole_answer_timeout_s: Duration = Field(3600.0, alias="whole_answer_timeout")
    """The same for an answer that is no stream, which comes when all of it has been made."""
    idle_timeout_s: Duration = Field(600.0, alias="idle_timeout")
    """Time for an instance to send more of an answer that it has begun; a tool call comes whole."""
    change_timeout_s: Duration = Field(3600.0, alias="change_timeout")
    """Time in which nothing may come of a create, a copy, a delete or a push: a model that is
    converted or quantised tells nothing meanwhile."""


def connections_within(files: int, instances: int, *, secured: bool) -> int:
    """How many clients' connections go with so many open files.

    The request on each may need another, to an instance; with TLS (`secured`) there are those that
    are still in a handshake, too.
    """
    left = files - _OWN_FILES - _FILES_OF_INSTANCE * instances
    return max(1, HANDSHAKES * left // (2 * HANDSHAKES + 1) if secured else left // 2)
