"""The tables of the history file, and how a record becomes a row and back. Pure."""

from collections.abc import Sequence
from math import isfinite
from sys import float_info
from typing import Any

import msgspec

from ollama_fleet.history.record import RequestRecord

APPLICATION_ID = 0x464C4849  # in the file's header: tells it from other SQLite files

UPGRADES = (
    """
    CREATE TABLE requests (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL,
        arrived_s REAL NOT NULL,
        client TEXT NOT NULL,
        method TEXT NOT NULL,
        route TEXT NOT NULL,
        dialect TEXT NOT NULL,
        model TEXT NOT NULL,
        key TEXT NOT NULL,
        stream INTEGER NOT NULL,
        inference INTEGER NOT NULL,
        strategy TEXT NOT NULL,
        instance TEXT NOT NULL,
        attempts INTEGER NOT NULL,
        tried TEXT NOT NULL,
        failures TEXT NOT NULL,
        ending TEXT NOT NULL,
        status INTEGER NOT NULL,
        error TEXT NOT NULL,
        queue_s REAL NOT NULL,
        load_s REAL NOT NULL,
        first_byte_s REAL NOT NULL,
        total_s REAL NOT NULL,
        prompt_tokens INTEGER NOT NULL,
        output_tokens INTEGER NOT NULL,
        records INTEGER NOT NULL,
        request_bytes INTEGER NOT NULL,
        answer_bytes INTEGER NOT NULL,
        reported_load_s REAL NOT NULL,
        reported_prefill_s REAL NOT NULL,
        reported_decode_s REAL NOT NULL,
        scores TEXT NOT NULL
    );
    CREATE INDEX requests_by_id ON requests (id);
    """,
    """
    ALTER TABLE requests ADD COLUMN terms TEXT NOT NULL DEFAULT '[]';
    UPDATE requests SET scores = '[]'; -- they were written in another form
    """,
    """
    ALTER TABLE requests ADD COLUMN tenant TEXT NOT NULL DEFAULT '';
    ALTER TABLE requests ADD COLUMN instances_up INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE requests ADD COLUMN instances_full INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE requests ADD COLUMN waiting_before INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE requests ADD COLUMN stalled_s REAL NOT NULL DEFAULT 0;
    ALTER TABLE requests ADD COLUMN failed_s REAL NOT NULL DEFAULT 0;
    ALTER TABLE requests ADD COLUMN busy REAL NOT NULL DEFAULT 0;
    ALTER TABLE requests ADD COLUMN gpu_s REAL NOT NULL DEFAULT 0;
    ALTER TABLE requests ADD COLUMN energy_j REAL;
    CREATE INDEX requests_by_arrival ON requests (arrived_s);
    -- All that requests are chosen and added up by: no question has to read the whole rows.
    CREATE INDEX requests_by_tenant ON requests (
        tenant, key, instance, arrived_s, total_s, status, ending, inference,
        prompt_tokens, output_tokens, gpu_s, energy_j
    );
    """,
)
"""What makes each version of the file from the one before it; a published step never changes."""

VERSION = len(UPGRADES)

COLUMNS = RequestRecord.__struct_fields__

_NAMES = ", ".join(COLUMNS)
_MARKS = ", ".join("?" * len(COLUMNS))
INSERT = f"INSERT INTO requests ({_NAMES}) VALUES ({_MARKS})"  # noqa: S608 - our own names
SELECT = f"SELECT {_NAMES} FROM requests"  # noqa: S608 - our own names

_MAX_CHARS = 512  # of one text: a model's name comes from a client, who may write a book
_FIELDS = msgspec.structs.fields(RequestRecord)
_TEXTS = tuple(n for n, field in enumerate(_FIELDS) if field.type is str)
_INTEGERS = tuple(n for n, field in enumerate(_FIELDS) if field.type is int)
_MOST = 2**63 - 1  # an integer of SQLite's: a client may announce a longer body
_LISTS = tuple(COLUMNS.index(name) for name in ("tried", "failures", "terms", "scores"))
_ENDING = COLUMNS.index("ending")
_SCORES = COLUMNS.index("scores")
_LARGEST = float_info.max

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.decode


def values_of(record: RequestRecord) -> tuple[Any, ...]:
    """What a record holds, in the order of COLUMNS."""
    return msgspec.structs.astuple(record)


def storable(values: Sequence[Any]) -> list[Any]:
    """Values that SQLite and MessagePack can express: long texts and integers cut."""
    row = list(values)
    for n in _TEXTS:
        text = row[n]
        if len(text) > _MAX_CHARS or not text.isascii():
            row[n] = _clean(text)
    for n in _INTEGERS:
        row[n] = min(row[n], _MOST)
    return row


def to_row(values: Sequence[Any]) -> Sequence[object]:
    """A record's values as INSERT takes them: storable, and lists as JSON text."""
    row = storable(values)
    for n in _LISTS:
        row[n] = _encode(row[n]).decode()
    if "null" in row[_SCORES]:  # JSON has no infinity
        finite = [
            (name, [f if isfinite(f) else _LARGEST for f in fs]) for name, fs in values[_SCORES]
        ]
        row[_SCORES] = _encode(finite).decode()
    row[_ENDING] = str(row[_ENDING])
    return row


def from_row(row: Sequence[Any]) -> RequestRecord:
    """The record of a row as SELECT gives it. Raises msgspec.DecodeError for a foreign one."""
    fields = dict(zip(COLUMNS, row, strict=True))
    for n in _LISTS:
        fields[COLUMNS[n]] = _decode(row[n])
    return msgspec.convert(fields, RequestRecord, strict=False)


def _clean(text: str) -> str:
    if len(text) > _MAX_CHARS:
        text = text[: _MAX_CHARS - 1] + "…"
    # What came out of JSON may hold half of a surrogate pair, which no encoding can express.
    return text.encode(errors="replace").decode()
