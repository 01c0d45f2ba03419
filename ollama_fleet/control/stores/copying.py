"""The bytes of a blob: hashed, and copied while they are hashed.

Reading and writing go on here, hashing on a thread beside it (hashlib lets go of the GIL), and a
third has the disk write what is there already, so that the last sync, on which a rename must
wait, is a short one. What takes longest then decides how long the whole takes.
"""

import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Final, Self

Tell = Callable[[int], None]
"""Is told how many bytes of a blob are done; they only ever grow, but where a copy starts anew."""

Stopped = Callable[[], bool]
"""Says whether to stop; asked at least every tenth of a second on any disk worth the name."""

_CHUNK_BYTES: Final = 2**20
_CHUNKS: Final = 4  # between the reader and the hash
_SYNC_S: Final = 0.2
_WAIT_S: Final = 0.05


class TransferStopped(Exception):
    """A transfer was told to stop; what it has copied is kept for the next."""


def hash_of(path: Path, *, tell: Tell = lambda _: None, stopped: Stopped = lambda: False) -> str:
    """The digest of a file's content. Raises OSError, or TransferStopped."""
    with path.open("rb", buffering=0) as file, _Hash() as content:
        content.read_from(file.fileno(), None, tell, stopped)
        return content.digest()


def copy_hashed(source: int, target: int, *, tell: Tell, stopped: Stopped) -> str:
    """Copy what `target` lacks of `source`; the digest of the whole, as it stands in `target`.

    Both are descriptors; `target` may hold the beginning from an earlier time, which is hashed
    from there, and is on the disk when this returns. Raises OSError, or TransferStopped, which
    leaves in `target` what was copied.
    """
    with _Sync(target) as sync, _Hash() as content:
        os.lseek(target, 0, os.SEEK_SET)
        done_bytes = content.read_from(target, None, tell, stopped)
        os.lseek(source, done_bytes, os.SEEK_SET)
        content.read_from(source, target, lambda count: tell(done_bytes + count), stopped)
        digest = content.digest()
        sync.finish(stopped)
    return digest


def write_all(target: int, content: memoryview) -> None:
    """Write where the file stands; a disk that takes a part of it is asked for the rest."""
    while content:
        content = content[os.write(target, content) :]


class _Hash:
    """A SHA-256 that is worked out on a thread of its own, at most `_CHUNKS` behind."""

    def __init__(self) -> None:
        self._sha256 = hashlib.sha256()
        self._free: SimpleQueue[memoryview] = SimpleQueue()
        self._full: SimpleQueue[tuple[memoryview, int] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="hash", daemon=True)
        for _ in range(_CHUNKS):
            self._free.put(memoryview(bytearray(_CHUNK_BYTES)))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._end()

    def read_from(self, source: int, target: int | None, tell: Tell, stopped: Stopped) -> int:
        """Take in a file from where it stands to its end, writing it to `target`; its bytes."""
        done_bytes = 0
        while True:
            if stopped():
                raise TransferStopped
            buffer = self._free.get()
            count = os.readv(source, [buffer])
            self._full.put((buffer, count))
            if not count:
                return done_bytes
            if target is not None:
                write_all(target, buffer[:count])
            done_bytes += count
            tell(done_bytes)

    def digest(self) -> str:
        """The digest of all that was taken in; nothing can be taken in afterwards."""
        self._end()
        return f"sha256:{self._sha256.hexdigest()}"

    def _end(self) -> None:
        self._full.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (item := self._full.get()) is not None:
            buffer, count = item
            self._sha256.update(buffer[:count])
            self._free.put(buffer)


class _Sync:
    """Has the disk write what a file holds, again and again, and at last once more.

    A sync cannot be broken off. So it goes on by itself where the copy is told to stop, on a
    descriptor of its own: until then the file stays locked, if it was.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = os.dup(descriptor)
        self._last = threading.Event()
        self._failure: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="sync", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._last.set()

    def finish(self, stopped: Stopped) -> None:
        """Wait until all is on the disk. Raises OSError, or TransferStopped."""
        self._last.set()
        while self._thread.is_alive():
            if stopped():
                raise TransferStopped
            self._thread.join(_WAIT_S)
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            while not self._last.wait(_SYNC_S):
                os.fdatasync(self._descriptor)
            os.fsync(self._descriptor)
        except OSError as error:
            self._failure = error
        finally:
            os.close(self._descriptor)
