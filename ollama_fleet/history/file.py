"""The history file, open for writing: found, made, brought up to date, written to, kept small."""

import math
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ollama_fleet.history.record import RequestRecord
from ollama_fleet.history.schema import APPLICATION_ID, INSERT, UPGRADES, VERSION, to_row, values_of

_BUSY_S = 2.0  # how long somebody's sqlite3 shell may hold a lock before it counts as trouble
_SLICE_PAGES = 256
_WAL_BYTES = 8 * 2**20  # what is left of the log beside the file after a checkpoint
_BEYOND_REPAIR = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class Unusable(Exception):
    """What lies there is not a history that this program can write to."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much is kept: requests, bytes of the file, and seconds since a request's arrival."""

    max_requests: int
    max_bytes: int
    keep_s: float


class HistoryFile:
    """Opens the file, or makes it. Used by one thread.

    Every method raises OSError or sqlite3.Error where the disk does not do its part, and Unusable
    where the file is damaged, or not of our making, or a newer program's.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode = _create(path)
        # Transactions are our own: no statement opens one behind our back.
        self._db = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)
        try:
            with _judged():
                self._prepare()
        except (sqlite3.Error, Unusable):
            self._db.close()
            raise

    @property
    def is_in_place(self) -> bool:
        """Whether the file that is open is still the one at its path."""
        try:
            return self._path.stat().st_ino == self._inode
        except OSError:
            return False

    def write(self, records: Sequence[RequestRecord]) -> None:
        """Add records, all or none."""
        self.insert(map(values_of, records))

    def insert(self, rows: Iterable[Sequence[Any]]) -> None:
        """Add records by their values, all or none."""
        with _judged(), self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(INSERT, map(to_row, rows))

    def prune(self, bounds: Bounds, now_s: float, limit: int) -> int:
        """Remove up to `limit` of the oldest records beyond the bounds; `now_s` is Unix time.

        How many it were: none, when all that is left is within.
        """
        with _judged():
            first = self._first_to_stay(bounds, now_s, limit)
            removed = self._db.execute("DELETE FROM requests WHERE number < ?", (first,))
            pages, free, page_bytes = self._pages()
            if free and pages * page_bytes > bounds.max_bytes:
                # As a script: it gives no rows, and execute() would end it after one page.
                self._db.executescript(f"PRAGMA incremental_vacuum({_SLICE_PAGES})")
            return removed.rowcount

    def close(self) -> None:
        """Close the file; SQLite empties its log into it."""
        self._db.close()

    def _prepare(self) -> None:
        application = self._number("PRAGMA application_id")
        version = self._number("PRAGMA user_version")
        is_new = not self._number("SELECT count(*) FROM sqlite_master")
        if not is_new and (application != APPLICATION_ID or version > VERSION):
            raise Unusable("it is another program's, or a newer one's")
        if is_new:
            self._db.execute("PRAGMA auto_vacuum = INCREMENTAL")  # only before the first table
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
        version = 0 if is_new else version
        if version < VERSION:
            self._upgrade(version)

    def _upgrade(self, version: int) -> None:
        """Bring the file up to date, wholly or not at all: a reader sees no version between."""
        steps = "; ".join(UPGRADES[version:])
        try:
            self._db.executescript(
                f"BEGIN IMMEDIATE; {steps}; PRAGMA application_id = {APPLICATION_ID};"
                f"PRAGMA user_version = {VERSION}; COMMIT;"
            )
        except sqlite3.Error:
            self._db.rollback()
            raise

    def _first_to_stay(self, bounds: Bounds, now_s: float, limit: int) -> int:
        # In one query the two would be a walk through the whole table.
        oldest = self._row("SELECT min(number) FROM requests")[0]
        newest = self._row("SELECT max(number) FROM requests")[0]
        if oldest is None:
            return 0
        pages, free, page_bytes = self._pages()
        young = self._row(
            "SELECT number FROM requests WHERE number < ? AND arrived_s >= ? "
            "ORDER BY number LIMIT 1",
            (oldest + limit, now_s - bounds.keep_s),
        )
        end: int = oldest + limit
        within = first_within(bounds, oldest, newest, (pages - free) * page_bytes)
        return min(max(young[0] if young else end, within), end)

    def _pages(self) -> tuple[int, int, int]:
        names = ("page_count", "freelist_count", "page_size")
        pages, free, page_bytes = (self._number(f"PRAGMA {name}") for name in names)
        return pages, free, page_bytes

    def _number(self, query: str) -> int:
        return int(self._row(query)[0])

    def _row(self, query: str, values: tuple[object, ...] = ()) -> tuple[Any, ...]:
        found = self._db.execute(query, values).fetchone()
        return found if found is not None else ()


def first_within(bounds: Bounds, oldest: int, newest: int, used_bytes: int) -> int:
    """The number of the oldest record that count and size allow; numbers have no gaps."""
    by_count = newest - bounds.max_requests + 1
    excess = max(0.0, 1 - bounds.max_bytes / used_bytes) if used_bytes else 0.0
    return max(by_count, oldest + math.ceil((newest - oldest + 1) * excess))


def set_aside(path: Path) -> Path:
    """Rename the file, so that a new one can be begun; one set aside before makes way.

    Raises OSError.
    """
    aside = path.with_name(f"{path.name}.aside")
    for suffix in ("-wal", "-shm", ""):
        part, target = (Path(f"{whole}{suffix}") for whole in (path, aside))
        target.unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            part.rename(target)
    return aside


def _create(path: Path) -> int:
    """Make the file if there is none, for its owner alone; its inode. Raises OSError."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        # Not opened: closing it would drop the locks of whoever reads it in this process.
        path.chmod(0o600)
    return path.stat().st_ino


@contextmanager
def _judged() -> Iterator[None]:
    """Tell a file that is damaged from a disk that does not do its part."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0)
        if code & 0xFF in _BEYOND_REPAIR:  # the higher bits only say where
            raise Unusable(str(error)) from error
        raise
