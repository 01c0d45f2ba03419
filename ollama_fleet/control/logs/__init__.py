"""What the children print: read for ever, kept in rotated files, the last lines also in memory.

A pipe that nobody reads stops its child once it is full, so one thread reads them all, whatever
becomes of the files: bytes that the disk does not take are dropped and counted. Only a disk that
neither takes nor refuses them (a network mount that hangs) can hold the children up.
"""

import os
import re
import select
import selectors
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Final

from ollama_fleet.control.logs.rotated import RotatedFile, make_private
from ollama_fleet.system.files import widen_pipe

_CHUNK_BYTES: Final = 256 * 1024  # one read; also the most that a pipe is made to hold
_BURST_BYTES: Final = 64 * 1024  # a read this large means that the child is ahead of us
_RECENT_BYTES: Final = 64 * 1024
_LINE_CHARS: Final = 500
_PAUSE_MS: Final = 10  # lets small writes gather: a talkative child costs 100 rounds a second
_CLOSE_S: Final = 5.0

_NAME: Final = re.compile(r"[^./\0][^/\0]*")
_TERMINAL: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[ -~])")


class ChildLogs:
    """The output of all children, by name: `<directory>/<name>.log`, rotated at `max_bytes`.

    `keep` older files stay beside it, `.log.1` the newest of them. Raises OSError if `directory`
    cannot be made, or not made private. Every method may be called from any thread; none but
    `close` waits for the disk.
    """

    def __init__(self, directory: Path, max_bytes: int, keep: int) -> None:
        if max_bytes < 1 or keep < 0:
            raise ValueError(f"no log can be kept in {keep} files of {max_bytes} bytes")
        make_private(directory)
        self._directory, self._max_bytes, self._keep = directory, max_bytes, keep
        self._logs: dict[str, _Log] = {}
        self._lock = threading.Lock()  # between those who send commands and the end of the thread
        self._closed = False
        self._commands: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._thread: threading.Thread | None = None  # a fleet without children needs none

    def open(self, name: str) -> int:
        """A file descriptor for a child to print to; the caller closes it after the start.

        A name may be opened again, by the child's successor. Raises ValueError for a name that is
        no file name and after `close`, OSError when there are no more file descriptors.
        """
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} cannot be the name of a log file")
        path = self._directory / f"{name}.log"
        new = _Log(RotatedFile(path, max_bytes=self._max_bytes, keep=self._keep))
        log = self._logs.setdefault(name, new)
        self._begin()
        read_fd, write_fd = os.pipe()
        os.set_blocking(read_fd, False)
        widen_pipe(read_fd, _CHUNK_BYTES)
        if not self._command(partial(self._adopt, log, read_fd)):
            os.close(read_fd)
            os.close(write_fd)
            raise ValueError("these logs are closed")
        return write_fd

    def flush(self, name: str) -> "Future[None]":
        """Done when all that was printed before this call is captured, as after a child's death.

        Wait with `.result()`, or with `await asyncio.wrap_future(…)` on a loop.
        """
        done: Future[None] = Future()
        log = self._logs.get(name)
        if log is None or not self._command(partial(self._flush, log, done)):
            done.set_result(None)
        return done

    def tail(self, name: str, lines: int = 20) -> tuple[str, ...]:
        """The last lines captured by this process, oldest first, safe to show on a terminal."""
        log = self._logs.get(name)
        return last_lines(log.recent, lines) if log else ()

    def dropped_bytes(self, name: str) -> int:
        """Bytes that no file has, because the disk did not take them."""
        log = self._logs.get(name)
        return log.file.dropped_bytes if log else 0

    def close(self) -> None:
        """Capture what is in the pipes and end. A child that still prints after it is killed."""
        with self._lock:
            closed, self._closed = self._closed, True
            if self._thread is None:
                return
            if not closed:
                self._send(self._end_all)
        self._thread.join(_CLOSE_S)

    def _begin(self) -> None:
        with self._lock:
            if self._thread is not None or self._closed:
                return
            self._wake_r, self._wake_w = os.pipe()
            os.set_blocking(self._wake_r, False)
            os.set_blocking(self._wake_w, False)
            self._selector = selectors.DefaultSelector()
            self._selector.register(self._wake_r, selectors.EVENT_READ)
            self._thread = threading.Thread(target=self._serve, name="child-logs", daemon=True)
            self._thread.start()

    def _command(self, command: Callable[[], None]) -> bool:
        with self._lock:
            if not self._closed:
                self._send(command)
            return not self._closed

    def _send(self, command: Callable[[], None]) -> None:
        self._commands.put(command)
        with suppress(BlockingIOError):  # full of calls to wake up: it will
            os.write(self._wake_w, b"!")

    # All below runs on the thread.

    def _serve(self) -> None:
        pause = select.poll()
        pause.register(self._wake_r, select.POLLIN)
        while self._selector.get_map():
            ready = [key for key, _ in self._selector.select()]
            pipes = [key for key in ready if key.fd != self._wake_r]
            largest = max((self._drain(key.fd, key.data) for key in pipes), default=0)
            if len(pipes) < len(ready):
                self._obey()  # last, because a command may close a pipe that is ready
            elif largest < _BURST_BYTES:
                pause.poll(_PAUSE_MS)
        self._selector.close()

    def _obey(self) -> None:
        os.read(self._wake_r, _CHUNK_BYTES)
        while not self._commands.empty():
            self._commands.get()()

    def _adopt(self, log: "_Log", fd: int) -> None:
        log.pipes.add(fd)
        self._selector.register(fd, selectors.EVENT_READ, log)

    def _drain(self, fd: int, log: "_Log") -> int:
        """Capture what one read gives; how many bytes that was."""
        try:
            data = os.read(fd, _CHUNK_BYTES)
        except BlockingIOError:
            return 0
        if data:
            log.recent = (log.recent + data)[-_RECENT_BYTES:]
            log.file.write(data)
        else:
            self._drop(fd, log)
        return len(data)

    def _flush(self, log: "_Log", done: "Future[None]") -> None:
        if done.set_running_or_notify_cancel():
            self._catch_up(log)
            done.set_result(None)

    def _catch_up(self, log: "_Log") -> None:
        """Capture what the pipes hold now, and no more: a child that prints on is not outrun."""
        for fd in tuple(log.pipes):
            self._drain(fd, log)  # one read empties it: no pipe of ours holds more than a chunk

    def _drop(self, fd: int, log: "_Log") -> None:
        self._selector.unregister(fd)
        os.close(fd)
        log.pipes.remove(fd)
        if not log.pipes:
            log.file.close()

    def _end_all(self) -> None:
        for log in tuple(self._logs.values()):
            self._catch_up(log)
            for fd in tuple(log.pipes):
                self._drop(fd, log)
        with self._lock:  # whoever wakes us has let go of the pipe
            self._selector.unregister(self._wake_r)
            os.close(self._wake_r)
            os.close(self._wake_w)


@dataclass(slots=True)
class _Log:
    """The captured output under one name; `recent` is replaced, never changed."""

    file: RotatedFile
    recent: bytes = b""
    pipes: set[int] = field(default_factory=set)


def last_lines(recent: bytes, count: int) -> tuple[str, ...]:
    """The last lines of a text, without what a terminal would obey, cut where they are too long."""
    lines = recent.removesuffix(b"\n").split(b"\n") if recent else []
    if len(recent) >= _RECENT_BYTES and len(lines) > 1:
        del lines[0]  # its beginning is no longer there
    return tuple(_shown(line) for line in lines[max(0, len(lines) - max(0, count)) :])


def _shown(line: bytes) -> str:
    """A line as a terminal ends up showing it: what follows the last carriage return."""
    text = line.rstrip(b"\r").rpartition(b"\r")[2].decode(errors="replace").replace("\t", " ")
    text = "".join(filter(str.isprintable, _TERMINAL.sub("", text)))
    return text if len(text) <= _LINE_CHARS else text[: _LINE_CHARS - 1] + "…"
