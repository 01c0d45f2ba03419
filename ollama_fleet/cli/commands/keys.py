"""`fleet keys`: who may ask the fleet for what."""

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ollama_fleet.cli.configuring import load
from ollama_fleet.cli.options import Group, Options, pass_options
from ollama_fleet.cli.printing import emit, note
from ollama_fleet.cli.table import Column, table
from ollama_fleet.directories import Directories
from ollama_fleet.errors import ConfigError, FleetError

if TYPE_CHECKING:
    from ollama_fleet.api.auth.keyfile import KeyRecord

_PRIORITIES: Final = ("high", "normal", "low")
_DAY_S: Final = 86400.0


@click.group("keys", cls=Group)
def command() -> None:
    """Add, list and remove keys.

    They are kept in a file, `auth.keys_file`; a fleet that runs reads it again when it changes. A
    key is shown once, when it is made: the file has a digest of it.
    """


@command.command(
    "add",
    examples={
        "fleet keys add root --role admin": "the first: for whoever runs the fleet",
        "fleet keys add ann --model qwen3:8b --model llama3.2:*": "a model, and any tag of another",
        "fleet keys add ci --rate 60/m --tokens 1M/d --concurrent 4 --expires 30d": "within bounds",
    },
)
@click.argument("name")
@click.option(
    "--role",
    type=click.Choice(("user", "admin")),
    default="user",
    help="user, unless given: talks to models. admin: may also change what there is.",
)
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="MODEL",
    help="Only this model, or with :* any of its tags; may be given several times.",
)
@click.option(
    "--priority",
    type=click.Choice(_PRIORITIES),
    default="normal",
    help="The class in which its requests wait; they may ask for a lower one.",
)
@click.option("--rate", metavar="N/TIME", help="So many requests: 60/m, 1000/d.")
@click.option("--tokens", metavar="N/TIME", help="So many tokens, of prompts and answers: 1M/d.")
@click.option("--concurrent", type=click.IntRange(1), help="So many requests at once.")
@click.option("--expires", metavar="TIME", help="When it is good no more: 30d, 12h, 2027-01-31.")
@pass_options
def add(options: Options, name: str, expires: str | None, **bounds: Any) -> None:
    """Make a key for NAME, and print it; nobody can print it again.

    Whose requests these are stands in `fleet history`, `fleet usage` and the metrics, by NAME.
    """
    from ollama_fleet.api.auth import Role, keyfile

    if options.quiet:
        raise click.UsageError("with -q nobody would see the key; leave it out")
    path, now = _path(options), datetime.now(UTC)
    until = None if expires is None else _moment(expires, now)
    _check(name)

    def record(digest: str) -> "KeyRecord":
        return keyfile.KeyRecord(
            name=name,
            digest=digest,
            role=Role(bounds["role"]),
            models=bounds["models"],
            priority=bounds["priority"],
            requests=bounds["rate"],
            tokens=bounds["tokens"],
            concurrent=bounds["concurrent"],
            created=now.replace(microsecond=0),
            expires=until,
        )

    try:
        key = keyfile.add(path, record)
    except ConfigError as error:
        raise _wrong(error, path) from None
    emit(options, {"name": name, "key": key, "file": str(path)}, lambda: key)
    note(options, f"this is the only time that the key of {name} is shown; {path} has its digest")


@command.command("list", examples={"fleet keys list": "whose there are, and what they may do"})
@pass_options
def show(options: Options) -> None:
    """List keys: whose they are, what they may do, when they expire."""
    from ollama_fleet.api.auth import keyfile

    path = _path(options)
    try:
        file = keyfile.read(path)
    except keyfile.NoSuchFile:
        file = keyfile.KeyFile("0" * 64)
    keyfile.ring(path, file)
    rows = [_row(record, datetime.now(UTC)) for record in file.keys]
    emit(options, {"keys": rows, "file": str(path)}, lambda: _table(rows))


@command.command("rm", examples={"fleet keys rm ann": "who has it is refused a second later"})
@click.argument("names", nargs=-1, required=True, metavar="NAME…")
@pass_options
def remove(options: Options, names: tuple[str, ...]) -> None:
    """Remove keys; requests under way end as they would."""
    from ollama_fleet.api.auth import keyfile

    keyfile.remove(_path(options), names)
    emit(options, {"removed": list(names)}, lambda: f"removed: {', '.join(names)}")


def _path(options: Options) -> Path:
    return load(options).config.auth.keys_file or Directories.find(os.environ).keys


def _check(name: str) -> None:
    from ollama_fleet.api.auth.keyfile import check_name

    try:
        check_name(name)
    except ValueError as error:
        raise click.UsageError(f"{error}; such as ann or build-server") from None


def _wrong(error: ConfigError, path: Path) -> FleetError:
    """What is wrong with the key that was asked for, or with the file that there is."""
    place = f"{path}: keys["
    told = [p.partition("]: ")[2] if p.startswith(place) else p for p in error.problems]
    return FleetError("\n".join(told))


def _moment(text: str, now: datetime) -> datetime:
    """A time from now, or a day, at whose beginning it is."""
    from ollama_fleet.units import parse_duration

    days = text.removesuffix("d")
    try:
        if days != text:
            seconds = float(days) * _DAY_S
        elif text[4:5] == "-":
            found = datetime.fromisoformat(text)
            return found if found.tzinfo else found.replace(tzinfo=UTC)
        else:
            seconds = parse_duration(text)
        if seconds > 0:
            return (now + timedelta(seconds=seconds)).replace(microsecond=0)
    except (ValueError, OverflowError):
        pass
    raise click.UsageError(
        f"--expires: {text[:40]!r} is neither a time nor a day; such as 30d, 12h or 2027-01-31"
    )


def _row(record: "KeyRecord", now: datetime) -> dict[str, Any]:
    """A key as documents have it, without its digest."""
    expires = record.expires
    moment = None if expires is None else expires if expires.tzinfo else expires.replace(tzinfo=UTC)
    return {
        "name": record.name,
        "role": str(record.role),
        "models": list(record.models),
        "priority": record.priority,
        "requests": record.requests,
        "tokens": record.tokens,
        "concurrent": record.concurrent,
        "created": record.created.isoformat() if record.created else None,
        "expires": moment.isoformat() if moment else None,
        "expired": moment is not None and moment <= now,
    }


_COLUMNS: Final = (
    Column("NAME"),
    Column("ROLE"),
    Column("MODELS"),
    Column("PRIORITY"),
    Column("REQUESTS"),
    Column("TOKENS"),
    Column("CONCURRENT", number=True),
    Column("EXPIRES"),
)


def _table(rows: Sequence[dict[str, Any]]) -> str:
    shown = [
        (
            row["name"],
            row["role"],
            " ".join(row["models"]) or "all",
            row["priority"],
            row["requests"] or "",
            row["tokens"] or "",
            row["concurrent"] or "",
            "expired" if row["expired"] else row["expires"] or "never",
        )
        for row in rows
    ]
    return table(_COLUMNS, shown)
