"""The limits of a configuration, as the front keeps them."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from ollama_fleet.api.bodies import Limits, Room
from ollama_fleet.api.connection import Bounds
from ollama_fleet.api.guests import is_loopback
from ollama_fleet.config import Config, LimitsConfig
from ollama_fleet.config.limits import MAX_CONNECTIONS, connections_within
from ollama_fleet.system.limits import open_files

OTHERS: Final = 1024  # connections and requests of an address elsewhere, where nothing says more


def make_bounds(limits: LimitsConfig) -> Bounds:
    """What each connection must keep to."""
    return Bounds(
        header_timeout_s=limits.header_timeout_s,
        idle_timeout_s=limits.keepalive_timeout_s,
        write_timeout_s=limits.write_timeout_s,
        head_bytes=limits.header_bytes,
        line_bytes=limits.line_bytes,
        headers=limits.headers,
    )


def make_limits(limits: LimitsConfig, spool: Path) -> Limits:
    """What bodies must keep to, the large ones of which are kept in the folder `spool`."""
    return Limits(
        limits.body_bytes,
        limits.body_timeout_s,
        spool,
        rate_bytes_per_s=limits.body_rate_bytes_per_s,
        memory=Room(limits.buffered_bytes),
        disk=Room(limits.spooled_bytes),
        reserve_bytes=limits.disk_reserve_bytes,
    )


Most = tuple[int, Callable[[str], int | None]]
"""How many there may be in all, and of an address, if there is a limit."""


def most_connections(config: Config, instances: int, is_trusted: Callable[[str], bool]) -> Most:
    """How many connections there may be; a proxy that `is_trusted` may have any number of them."""
    limits = config.limits
    secured = config.tls.cert is not None
    within = connections_within(files_at_once(), instances, secured=secured)
    most = min(limits.connections or MAX_CONNECTIONS, within)
    of_address = of_each(limits.connections_per_address)
    return most, lambda address: None if is_trusted(address) else of_address(address)


def of_each(most: int | None) -> Callable[[str], int | None]:
    """How many of something an address may have at once: `most`, if that is set."""
    if most is not None:
        return lambda _address: most
    return lambda address: None if is_loopback(address) else OTHERS


def files_at_once() -> int:
    """How many files this process may have open."""
    soft, _ = open_files()
    return soft
