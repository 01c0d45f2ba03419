"""The section about instances that fail requests: when they are left out, and how they return."""

from pydantic import Field

from ollama_fleet.config.kinds import Count, CountOrZero, Duration, DurationOrZero, Share
from ollama_fleet.config.settings import Record


class HealthConfig(Record):
    """What becomes of an instance that fails requests, and of these requests."""

    connection_failures: Count = 3
    """Connections in a row, refused or lost, after which an instance is ejected."""
    request_failures: Count = 5
    """Requests in a row that it answers 5xx or too late, and another one well, after which
    it is."""
    eject_first_s: Duration = Field(5.0, alias="eject_first")
    """How long it is given no requests the first time; twice as long each time after that."""
    eject_max_s: Duration = Field(60.0, alias="eject_max")
    """The longest time for which it is given none."""
    slow_start_s: DurationOrZero = Field(10.0, alias="slow_start")
    """The time over which an instance that is back gets its full share; 0 gives it at once."""
    retry_share: Share = 0.2
    """The share of the requests under way that may be retries of what another instance answered
    with 5xx (503 aside), or not in time."""
    retry_least: CountOrZero = 3
    """How many may be, however few are under way; 0 leaves it to the share."""
