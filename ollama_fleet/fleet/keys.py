"""The keys of a running fleet: read from their file, and read again when that changes.

A key that is added or removed is so within two looks, without a restart. A file that cannot be
read costs nothing: the keys stay as they were.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from ollama_fleet.api.auth import Bounds, Gate, Terms, Why
from ollama_fleet.api.auth.keyfile import KeyFile, NoSuchFile, read, ring
from ollama_fleet.api.auth.knocks import Knocks
from ollama_fleet.api.auth.ring import NO_KEYS, KeyRing
from ollama_fleet.api.auth.usage import tokens_used
from ollama_fleet.config import Config
from ollama_fleet.directories import Directories
from ollama_fleet.errors import ConfigError
from ollama_fleet.fleet.recording import Recording
from ollama_fleet.history import RequestRecord
from ollama_fleet.metrics import Metrics
from ollama_fleet.state import Kind, Notice

LOOK_S: Final = 1.0  # between two looks at the file

Stamp = tuple[int, int, int]
"""What tells that a file is another than before: place, size, time; zeros where there is none."""


class Keys:
    """Has the `gate` let in who has a key. `look_s` seconds are between two looks at the file.

    Raises ConfigError where the file cannot be used, or has no key and one is needed.
    """

    def __init__(self, config: Config, directories: Directories, *, look_s: float = LOOK_S) -> None:
        self.path = config.auth.keys_file or directories.keys
        self._config = config
        self._file = KeyFile("0" * 64)
        self.gate = Gate(make_terms(config), clock=time.monotonic, wall=time.time)
        self._look_s = look_s
        self._knocks = Knocks()
        self._metrics: Metrics | None = None
        self._seen = stamp(self.path)
        try:
            self._file, found = _read(self.path, config)
        except NoSuchFile:
            found = NO_KEYS
        if config.keys_required and not found.lets_in(time.time()):
            raise _keyless(config, self.path)
        self.gate.renew(found)

    def follow(self, config: Config) -> None:
        """Go by what fleet.yaml says of callers now."""
        self._config = config
        self.gate.follow(make_terms(config))
        self.gate.renew(ring(self.path, self._file, make_bounds(config)))

    @asynccontextmanager
    async def watched(
        self, notice: Callable[[Notice], None], recording: Recording
    ) -> AsyncIterator[None]:
        """Follow the file while the block runs; `notice` is told of changes and of floods."""
        metrics = recording.metrics

        def denied(why: Why, address: str) -> None:
            if metrics is not None:
                metrics.denied(why)
            for told in self._knocks.knocked(why, address, time.monotonic()):
                notice(told)

        self.gate.denied = denied
        self._metrics = metrics
        recording.on_record.append(self._ended)
        if not (self._config.listen.is_loopback or self._config.keys_required):
            text = f"NO KEYS ARE ASKED FOR: whoever reaches {self._config.listen} may use, pull "
            notice(Notice(kind=Kind.FRONT_OPEN, text=f"{text}and delete models"))
        watching = asyncio.create_task(self._watch(notice), name="keys")
        try:
            yield
        finally:
            watching.cancel()

    def _ended(self, record: RequestRecord) -> None:
        """A request has ended: what it has used is its caller's, if that has a key."""
        if record.tenant in self.gate.names:
            self.gate.spent(record.tenant, tokens_used(record))
            if self._metrics is not None:
                self._metrics.called(record.tenant, record)

    async def _watch(self, notice: Callable[[Notice], None]) -> None:
        while True:
            await asyncio.sleep(self._look_s)
            now = await asyncio.to_thread(stamp, self.path)
            if now != self._seen:
                self._seen = now
                notice(await self._take())

    async def _take(self) -> Notice:
        """Read the file; what has come of it."""
        try:
            found = await self._read_beside()
        except ConfigError as error:
            text = f"the keys stay as they were: {error.reason}"
            return Notice(kind=Kind.KEYS_REFUSED, text=text)
        self.gate.renew(found)
        return Notice(
            kind=Kind.KEYS_READ,
            text=f"the keys have changed; valid now: {len(found.callers)}",
            figures={"keys": len(found.callers)},
        )

    async def _read_beside(self) -> KeyRing:
        """Read it on a thread; once more where fleet.yaml says something else by then."""
        while True:
            config = self._config
            file, found = await asyncio.to_thread(_read, self.path, config)
            if config is self._config:
                self._file = file
                return found


def _read(path: Path, config: Config) -> tuple[KeyFile, KeyRing]:
    """What the file says, and whom that lets in. Raises ConfigError."""
    file = read(path)
    return file, ring(path, file, make_bounds(config))


def make_terms(config: Config) -> Terms:
    """What fleet.yaml says of callers."""
    auth = config.auth
    switches = {"auth.create": auth.create, "auth.push": auth.push}
    return Terms(
        required=config.keys_required,
        by_name=config.listen.is_loopback,
        switched_on=frozenset(name for name, on in switches.items() if on),
        users=make_bounds(config),
    )


def make_bounds(config: Config) -> Bounds:
    """What it says of those who are no admins."""
    users, usual = config.auth.users, Bounds()
    return Bounds(
        max_context=usual.max_context if users.max_context is None else users.max_context,
        max_keep_alive_s=(
            usual.max_keep_alive_s if users.max_keep_alive_s is None else users.max_keep_alive_s
        ),
        options=None if users.options is None else frozenset(users.options),
        unload=users.unload,
    )


def stamp(path: Path) -> Stamp:
    """How a file stands now."""
    try:
        found = path.stat()
    except OSError:
        return _NOWHERE
    return found.st_ino, found.st_size, found.st_mtime_ns


_NOWHERE: Final[Stamp] = (0, 0, 0)


def _keyless(config: Config, path: Path) -> ConfigError:
    who = (
        "auth.required is true"
        if config.auth.required
        else f"{config.listen} can be reached by others"
    )
    makes = "`fleet keys add NAME --role admin` makes one, --insecure-no-auth lets every caller in"
    return ConfigError((f"{who}, and no valid key is in {path}; {makes}",))
