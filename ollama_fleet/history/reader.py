"""Reading the history: on a connection of its own, opened for one question. Blocking."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from ollama_fleet.errors import FleetError
from ollama_fleet.history.record import RequestRecord
from ollama_fleet.history.schema import SELECT, VERSION, from_row

_BUSY_S = 2.0


def recent(path: Path, limit: int, since_s: float = 0.0) -> tuple[RequestRecord, ...]:
    """The requests that ended last, newest first, of those that arrived at `since_s` or later.

    None, where nothing has been kept yet. Raises FleetError if the file cannot be read.
    """
    with _reading(path) as db:
        if db is None:
            return ()
        query = f"{SELECT} WHERE arrived_s >= ? ORDER BY number DESC LIMIT ?"
        return tuple(map(from_row, db.execute(query, (since_s, limit))))


def find(path: Path, request_id: str) -> RequestRecord | None:
    """The last request of that id. Raises FleetError if the file cannot be read."""
    with _reading(path) as db:
        if db is None:
            return None
        query = f"{SELECT} WHERE id = ? ORDER BY number DESC LIMIT 1"
        row = db.execute(query, (request_id,)).fetchone()
        return from_row(row) if row else None


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection | None]:
    """The file, opened so that nothing can be changed; None while the writer has not made it."""
    if not path.exists():
        yield None
        return
    try:
        with closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", _BUSY_S, uri=True)
        ) as db:
            (version,) = db.execute("PRAGMA user_version").fetchone()
            yield db if version == VERSION else None
    except (sqlite3.Error, msgspec.ValidationError) as error:
        raise FleetError(f"the history cannot be read: {error}", str(path)) from None
