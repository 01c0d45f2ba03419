"""The file of keys: who may ask for what, and a digest of each key, never the key itself.

JSON, for this user alone, replaced as a whole. `fleet keys` changes it, whether the fleet runs or
not; it may be edited by hand, too.
"""

import json
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

import msgspec

from ollama_fleet.api.auth.bounds import FREE, Bounds
from ollama_fleet.api.auth.caller import Caller, Models, Role
from ollama_fleet.api.auth.presented import digest, new_key
from ollama_fleet.api.auth.rates import Rate
from ollama_fleet.api.auth.ring import KeyRing
from ollama_fleet.errors import ConfigError, FleetError
from ollama_fleet.router.intake import Priority
from ollama_fleet.system.files import give, sync_folder
from ollama_fleet.system.locks import lock

MAX_BYTES: Final = 16 * 2**20
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,63}")


class KeyRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One key as the file has it. Times are ISO 8601, rates as `60/m`; unset is without bound."""

    name: str
    digest: str
    role: Role = Role.USER
    models: tuple[str, ...] = ()
    priority: Literal["high", "normal", "low"] = "normal"
    requests: str | None = None
    tokens: str | None = None
    concurrent: int | None = None
    created: datetime | None = None
    expires: datetime | None = None

    def caller(self, users: Bounds) -> Caller:
        """Whom it stands for. Raises ValueError."""
        if self.role is Role.ADMIN and self.models:
            raise ValueError("an admin may change every model; `models` are for users")
        if self.concurrent is not None and self.concurrent < 1:
            raise ValueError("`concurrent` is less than 1")
        return Caller(
            name=self.name,
            role=self.role,
            models=Models.named(self.models),
            priority=Priority[self.priority.upper()],
            requests=None if self.requests is None else Rate.parse(self.requests),
            tokens=None if self.tokens is None else Rate.parse(self.tokens),
            concurrent=float("inf") if self.concurrent is None else self.concurrent,
            expires_s=float("inf") if self.expires is None else _unix_s(self.expires),
            bounds=FREE if self.role is Role.ADMIN else users,
        )


class KeyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of them, and the `secret` by which their digests are made, in hexadecimal digits."""

    secret: str
    keys: tuple[KeyRecord, ...] = ()
    version: Literal[1] = 1


class NoSuchFile(ConfigError):
    """There is no file of keys."""


def read(path: Path) -> KeyFile:
    """What the file says. Raises ConfigError where that cannot be used; it quotes no digest."""
    try:
        raw = _content(path)
    except FileNotFoundError:
        raise NoSuchFile((f"{path}: there is no such file; `fleet keys add` makes it",)) from None
    except OSError as error:
        raise ConfigError((f"{path}: {error.strerror or error}",)) from None
    try:
        return msgspec.json.decode(raw, type=KeyFile)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError((f"{path}: it is no file of keys: {error}",)) from None


def _content(path: Path) -> bytes:
    """What it holds, if that has an end: not what a pipe or a device would say. Raises OSError."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError("it is no regular file")
    if found.st_size > MAX_BYTES:
        raise OSError(f"it is larger than {MAX_BYTES} bytes")
    return path.read_bytes()


def ring(path: Path, file: KeyFile, users: Bounds = FREE) -> KeyRing:
    """The keys of a file; `users` are the bounds of those that are no admin's.

    Raises ConfigError with all that is wrong.
    """
    callers: dict[bytes, Caller] = {}
    problems = [] if _is_hexadecimal(file.secret) else [f"{path}: `secret` is no 64 hex digits"]
    names: set[str] = set()
    for at, record in enumerate(file.keys):
        try:
            digest_of_key = _check(record, names, callers)
            callers[digest_of_key] = record.caller(users)
        except ValueError as error:
            problems.append(f"{path}: keys[{at}]: {error}")
        names.add(record.name)
    if problems:
        raise ConfigError(tuple(problems))
    return KeyRing(bytes.fromhex(file.secret), callers)


def _check(record: KeyRecord, names: set[str], callers: Mapping[bytes, Caller]) -> bytes:
    """The digest of its key. Raises ValueError."""
    check_name(record.name)
    if record.name in names:
        raise ValueError(f"{record.name} stands there already")
    if not _is_hexadecimal(record.digest):
        raise ValueError("`digest` is no 64 hex digits")
    found = bytes.fromhex(record.digest)
    if found in callers:
        raise ValueError(f"`digest` is that of {callers[found].name}: one key, two callers")
    return found


def check_name(name: str) -> None:
    """Raise ValueError for what cannot name a key's owner: it is shown, and never an address."""
    if _NAME.fullmatch(name) is None or name.lower() == "localhost":
        raise ValueError(
            f"{name[:70]!r} is no name: a letter, then letters, digits, dots, _ and -, 64 at most"
        )


def add(path: Path, record: Callable[[str], KeyRecord]) -> str:
    """Put a new key into the file, and return the key: this is the only time that it is there.

    `record` makes its record of the digest. Raises ConfigError or FleetError.
    """
    with _changing(path) as real:
        file = _read_or_new(path)
        key = new_key()
        made = record(digest(bytes.fromhex(file.secret), key).hex())
        if any(each.name == made.name for each in file.keys):
            raise FleetError(
                f"there is a key for {made.name} already",
                f"`fleet keys rm {made.name}` removes it",
            )
        changed = KeyFile(file.secret, (*file.keys, made))
        ring(path, changed)
        _write(real, changed)
    return key


def remove(path: Path, names: Sequence[str]) -> None:
    """Take keys out of the file. Raises ConfigError, or FleetError for a name that is not there."""
    with _changing(path) as real:
        file = read(path)
        known = {record.name for record in file.keys}
        unknown = [name for name in names if name not in known]
        if unknown:
            raise FleetError(
                f"no key is called {', '.join(unknown)}",
                f"there are {', '.join(sorted(known)) or 'none'}",
            )
        _write(real, KeyFile(file.secret, tuple(k for k in file.keys if k.name not in names)))


def _read_or_new(path: Path) -> KeyFile:
    try:
        file = read(path)
    except NoSuchFile:
        return KeyFile(secrets.token_hex(32))
    ring(path, file)
    return file


@contextmanager
def _changing(path: Path) -> Iterator[Path]:
    """One who changes the file after another: what a link leads to is the file.

    Raises FleetError where that cannot be.
    """
    real = Path(os.path.realpath(path))
    try:
        real.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(real.with_name(real.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            lock(descriptor, wait=True)
            yield real
        finally:
            os.close(descriptor)
    except OSError as error:
        why = error.strerror or str(error)
        raise FleetError(f"{path} cannot be changed: {why}", "the keys are as they were") from None


def _write(real: Path, file: KeyFile) -> None:
    """Put it in the place of the old one, whole, and for its owner alone."""
    new = real.with_name(f"{real.name}.{secrets.token_hex(4)}.new")
    text = json.dumps(msgspec.to_builtins(file), indent=2) + "\n"
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            out.write(text)
            out.flush()
            # What root changes stays whose it was, else whose folder it is in: the fleet reads it.
            give(out.fileno(), real if real.exists() else real.parent)
            os.fsync(out.fileno())
        new.replace(real)
    finally:
        new.unlink(missing_ok=True)
    sync_folder(real.parent)  # a key that was removed is not to be back after a power cut


def _is_hexadecimal(text: str) -> bool:
    return len(text) == 64 and set(text) <= set("0123456789abcdef")


def _unix_s(moment: datetime) -> float:
    """A time without a zone is UTC."""
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
