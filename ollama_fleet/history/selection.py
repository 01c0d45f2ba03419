"""Which requests of the history are wanted, and how SQLite is asked for them. Pure."""

from collections.abc import Sequence
from typing import Final

import msgspec

from ollama_fleet.names import canonical

BY_TENANT: Final = "requests_by_tenant"
BY_ARRIVAL: Final = "requests_by_arrival"

# What was refused, failed, or did not come to its own end; a client that left is no error.
FAILED: Final = "(status >= 400 OR ending IN ('broken', 'incomplete'))"


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """The requests that are wanted: those to which all of it applies that is set.

    `model`, `instance` and `tenant` are names; the model's stands for every way to write it.
    `since_s` and `until_s` bound a request's arrival, in Unix time; `slow_s` is how long it took at
    the least; `errors`: only what failed.
    """

    model: str = ""
    instance: str = ""
    tenant: str = ""
    since_s: float = 0.0
    until_s: float = 0.0
    slow_s: float = 0.0
    errors: bool = False

    def conditions(self) -> tuple[str, Sequence[object]]:
        """The same as a WHERE clause over columns of BY_TENANT, and its values."""
        asked: list[tuple[str, object]] = [
            ("arrived_s >= ?", self.since_s),
            ("arrived_s < ?", self.until_s),
            ("key = ?", canonical(self.model) if self.model else ""),
            ("instance = ?", self.instance),
            ("tenant = ?", self.tenant),
            ("total_s >= ?", self.slow_s),
        ]
        said = [(condition, value) for condition, value in asked if value]
        clauses = [condition for condition, _ in said]
        if self.errors:
            clauses.append(FAILED)
        return " AND ".join(clauses) or "1", [value for _, value in said]

    @property
    def index(self) -> str:
        """The index by which they are found without reading rows that are not wanted.

        By arrival where nothing else is asked: then the first rows that are read will do.
        """
        others = self.model or self.instance or self.tenant or self.slow_s or self.errors
        return BY_TENANT if others else BY_ARRIVAL
