"""The history file in the hands of a process of its own: SQLite never has the router's interpreter.

A frame each way, in turn: four bytes of length, big-endian, and MessagePack. The process ends with
its input, so it does not outlive the fleet by more than what it was told to write.
"""

import sqlite3
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Any, Final, Protocol

import msgspec

from ollama_fleet.history.file import Bounds, HistoryFile, Unusable
from ollama_fleet.history.record import RequestRecord
from ollama_fleet.history.schema import storable, values_of
from ollama_fleet.system.apart import apart

_PIECE: Final = 200  # records encoded at a time: what the router's loop may have to wait for
_END_S: Final = 2.0  # for the process to close the file
_LENGTH: Final = struct.Struct(">I")
_TROUBLE: Final = (OSError, sqlite3.Error, Unusable)


class Kept(Protocol):
    """A history file that is open for writing: in this process, or in one of its own."""

    @property
    def is_in_place(self) -> bool:
        """Whether the file that is open is still the one at its path."""

    def write(self, records: Sequence[RequestRecord]) -> None:
        """Add records, all or none."""

    def prune(self, bounds: Bounds, now_s: float, limit: int) -> int:
        """Remove up to `limit` of the oldest records beyond the bounds; how many it were."""

    def close(self) -> None:
        """Close the file."""


class _Order(msgspec.Struct, array_like=True):
    """What is to be done; rows of which more come are written with the last of them."""

    rows: Sequence[Sequence[Any]] = ()
    more: bool = False
    prune: tuple[Bounds, float, int] | None = None


class _Done(msgspec.Struct, array_like=True):
    """How it went: a number, or why not; `unusable` as the exception of that name has it."""

    number: int = 0
    error: str = ""
    unusable: bool = False
    in_place: bool = True


class HistoryApart:
    """A HistoryFile in a process of its own, which is started here and ended by `close`.

    Every method raises what HistoryFile's raise, and OSError where the process is gone.
    """

    def __init__(self, path: Path) -> None:
        # Not by -m, which warns on stderr of a module that its package has imported already.
        command = (sys.executable, "-P", "-c", f"from {__name__} import main; main()", str(path))
        # An interrupt on the terminal is the fleet's to answer.
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, **apart()
        )
        self._in_place = True
        try:
            self._answer()
        except (OSError, Unusable):
            self.close()
            raise

    @property
    def is_in_place(self) -> bool:
        """Whether the file that is open is still the one at its path."""
        self._send(_Order())
        self._answer()
        return self._in_place

    def write(self, records: Sequence[RequestRecord]) -> None:
        """Add records, all or none."""
        for start in range(0, len(records), _PIECE):
            rows = [values_of(record) for record in records[start : start + _PIECE]]
            more = start + _PIECE < len(records)
            try:
                self._send(_Order(rows, more))
            except (UnicodeError, OverflowError):  # what a client wrote, in one of them
                self._send(_Order([storable(row) for row in rows], more))
        if records:
            self._answer()

    def prune(self, bounds: Bounds, now_s: float, limit: int) -> int:
        """Remove up to `limit` of the oldest records beyond the bounds; how many it were."""
        self._send(_Order(prune=(bounds, now_s, limit)))
        return self._answer()

    def close(self) -> None:
        """Have the file closed; a process that does not end within 2 s is killed."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _send(self, order: _Order) -> None:
        if self._process.stdin is None:
            raise OSError("the writer has no input")
        _send(self._process.stdin, order)

    def _answer(self) -> int:
        if self._process.stdout is None or (frame := _receive(self._process.stdout)) is None:
            raise OSError(f"the writer has ended ({self._process.poll()})")
        done = msgspec.msgpack.decode(frame, type=_Done)
        self._in_place = done.in_place
        if done.unusable:
            raise Unusable(done.error)
        if done.error:
            raise OSError(done.error)
        return done.number


def serve(path: Path, orders: IO[bytes], answers: IO[bytes]) -> None:
    """Carry out orders until there are no more, or nobody listens to the answers."""
    with suppress(BrokenPipeError), ExitStack() as stack:
        try:
            file = HistoryFile(path)
        except _TROUBLE as error:
            _send(answers, _failed(error))
            return
        stack.callback(file.close)
        _send(answers, _Done())
        for order in _received(orders):
            try:
                done = _Done(_carried_out(order, file), in_place=file.is_in_place)
            except _TROUBLE as error:
                done = _failed(error)
            _send(answers, done)


def _received(orders: IO[bytes]) -> Iterator[_Order]:
    """Orders, the rows of one that came in pieces together."""
    decode = msgspec.msgpack.Decoder(_Order).decode
    rows: list[Sequence[Any]] = []
    while (frame := _receive(orders)) is not None:
        order = decode(frame)
        rows += order.rows
        if not order.more:
            yield _Order(rows, prune=order.prune)
            rows = []


def _carried_out(order: _Order, file: HistoryFile) -> int:
    if order.rows:
        file.insert(order.rows)
    return file.prune(*order.prune) if order.prune is not None else 0


def _failed(error: Exception) -> _Done:
    return _Done(error=str(error) or type(error).__name__, unusable=isinstance(error, Unusable))


def _send(pipe: IO[bytes], what: msgspec.Struct) -> None:
    frame = msgspec.msgpack.encode(what)
    pipe.write(_LENGTH.pack(len(frame)))
    pipe.write(frame)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> bytes | None:
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    frame = pipe.read(length)
    return frame if len(frame) == length else None


def main() -> None:
    """Serve the file that the command line names."""
    serve(Path(sys.argv[1]), sys.stdin.buffer, sys.stdout.buffer)
