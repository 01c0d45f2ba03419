"""Reading the history: on a connection of its own, opened for one question. Blocking."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import msgspec

from ollama_fleet.errors import FleetError
from ollama_fleet.history.record import RequestRecord
from ollama_fleet.history.schema import SELECT, VERSION, from_row
from ollama_fleet.history.selection import BY_ARRIVAL, BY_TENANT, Selection
from ollama_fleet.history.totals import By, Usage, added_up, question

LAST: Final = "last"
SLOWEST: Final = "slowest"
"""What may stand for a request's id."""

_BUSY_S: Final = 2.0
_LIKE: Final = 200  # requests for the same model that are compared with one, before it and behind
_NEAR: Final = 5000  # requests for any model among which they are sought first
_FEW: Final = 20  # of them, for which all are looked through
_NAMED: Final = 4  # ids that are told of those which begin alike


def recent(path: Path, limit: int, since_s: float = 0.0) -> tuple[RequestRecord, ...]:
    """The requests that ended last, newest first, of those that arrived at `since_s` or later.

    None, where nothing has been kept yet. Raises FleetError if the file cannot be read.
    """
    with _reading(path) as db:
        if db is None:
            return ()
        query = f"{SELECT} WHERE arrived_s >= ? ORDER BY number DESC LIMIT ?"
        return tuple(map(from_row, db.execute(query, (since_s, limit))))


def select(path: Path, wanted: Selection, limit: int) -> tuple[RequestRecord, ...]:
    """The requests that are wanted, the last to arrive first, so many at most.

    Raises FleetError if the file cannot be read.
    """
    with _reading(path) as db:
        if db is None:
            return ()
        where, values = wanted.conditions()
        return _chosen(db, where, values, limit, index=wanted.index)


def find(path: Path, request_id: str) -> RequestRecord | None:
    """The last request of that id, or the one whose id begins so; LAST and SLOWEST name others.

    Raises FleetError if several begin so, or the file cannot be read.
    """
    with _reading(path) as db:
        if db is None:
            return None
        if request_id == LAST:  # first: a client may call its requests so
            return _one(db, "ORDER BY number DESC LIMIT 1")
        if request_id == SLOWEST:
            slowest = f"SELECT number FROM requests INDEXED BY {BY_TENANT} ORDER BY total_s DESC"  # noqa: S608 - our own names
            return _one(db, f"WHERE number = ({slowest} LIMIT 1)")
        exact = _one(db, "WHERE id = ? ORDER BY number DESC LIMIT 1", request_id)
        return exact if exact is not None else _begun(db, request_id)


def neighbours(path: Path, record: RequestRecord) -> tuple[RequestRecord, ...]:
    """Requests for the same model from before and after one, which is not among them.

    Raises FleetError if the file cannot be read.
    """
    with _reading(path) as db:
        if db is None:
            return ()
        before = _beside(db, record, "arrived_s <= ?", "DESC")
        after = _beside(db, record, "arrived_s > ?", "ASC")
        return tuple(other for other in (*before, *after) if other != record)


def usage(path: Path, wanted: Selection, by: Sequence[By]) -> tuple[Usage, ...]:
    """What the requests that ran a model and are wanted come to, the most GPU-seconds first.

    Raises FleetError if the file cannot be read.
    """
    with _reading(path) as db:
        if db is None:
            return ()
        return added_up(db.execute(*question(wanted)), by)


def _beside(
    db: sqlite3.Connection, record: RequestRecord, where: str, order: str
) -> tuple[RequestRecord, ...]:
    """On one side of it: of the nearest, whatever their model; if they are few there, of all."""
    near = (
        f"SELECT number, key FROM requests INDEXED BY {BY_ARRIVAL} WHERE {where} "  # noqa: S608 - our own names; values are bound
        f"ORDER BY arrived_s {order}, number {order} LIMIT {_NEAR}"
    )
    numbers = f"SELECT number FROM ({near}) WHERE key = ? LIMIT ?"  # noqa: S608 - likewise
    query = f"{SELECT} WHERE number IN ({numbers})"
    rows = db.execute(query, (record.arrived_s, record.key, _LIKE + 1)).fetchall()
    if len(rows) >= _FEW:
        return tuple(map(from_row, rows))
    at = record.arrived_s, record.key
    return _chosen(db, f"{where} AND key = ?", at, _LIKE + 1, order=order)


def _chosen(
    db: sqlite3.Connection,
    where: str,
    values: Sequence[object],
    limit: int,
    *,
    index: str = BY_TENANT,
    order: str = "DESC",
) -> tuple[RequestRecord, ...]:
    """Chosen by the index alone: only the rows that are wanted are read."""
    numbers = (
        f"SELECT number FROM requests INDEXED BY {index} WHERE {where} "  # noqa: S608 - our own names; values are bound
        f"ORDER BY arrived_s {order}, number {order} LIMIT ?"
    )
    query = f"{SELECT} WHERE number IN ({numbers}) ORDER BY arrived_s {order}, number {order}"
    return tuple(map(from_row, db.execute(query, (*values, limit))))


def _one(db: sqlite3.Connection, rest: str, *values: object) -> RequestRecord | None:
    row = db.execute(f"{SELECT} {rest}", values).fetchone()
    return from_row(row) if row else None


def _begun(db: sqlite3.Connection, start: str) -> RequestRecord | None:
    """The request whose id begins so."""
    query = "SELECT DISTINCT id FROM requests WHERE id >= ? AND id < ? ORDER BY id LIMIT ?"
    end = start[:-1] + chr(min(ord(start[-1]) + 1, 0x10FFFF)) if start else ""
    ids = [row[0] for row in db.execute(query, (start, end, _NAMED + 1))]
    if len(ids) > 1:
        told = ", ".join(ids[:_NAMED]) + (", …" if len(ids) > _NAMED else "")
        raise FleetError(f"several requests begin with {start}", f"there are {told}")
    return _one(db, "WHERE id = ? ORDER BY number DESC LIMIT 1", ids[0]) if ids else None


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
            if version not in (0, VERSION):
                raise FleetError(f"{path} is of another version", _WAY_OUT[version > VERSION])
            yield db if version else None
    except (sqlite3.Error, msgspec.DecodeError) as error:
        raise FleetError(f"the history cannot be read: {error}", str(path)) from None


_WAY_OUT: Final = {
    False: "`fleet up` brings an older fleet's up to date; a large one takes some seconds",
    True: "a newer fleet has written it: use that to read it",
}
