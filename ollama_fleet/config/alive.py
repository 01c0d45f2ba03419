"""Which keys of fleet.yaml a running fleet takes from a file that was changed. Pure."""

from collections.abc import Iterable, Mapping
from typing import Final

from ollama_fleet.config.paths import KeyPath, show_path
from ollama_fleet.config.records import Config

LIVE: Final[tuple[KeyPath, ...]] = (
    ("auth", "create"),
    ("auth", "push"),
    ("auth", "users"),
    ("defaults",),
    ("groups",),
    ("health",),
    ("instance_ports",),
    ("instances",),
    ("limits", "change_timeout"),
    ("limits", "connect_timeout"),
    ("limits", "connections"),
    ("limits", "connections_per_address"),
    ("limits", "first_byte_timeout"),
    ("limits", "idle_timeout"),
    ("limits", "requests_per_client"),
    ("limits", "whole_answer_timeout"),
    ("logs", "level"),
    ("models",),
    ("ollama", "binary"),
    ("queue",),
    ("repair",),
    ("routing",),
    ("supervision",),
)
"""The keys, and the sections, that a reload takes. All others need a restart of the fleet."""

_OPENED: Final = "its files and sockets are opened when the fleet starts"
_BELIEVED: Final = "who is let in and believed is settled at the start, lest a slip open the fleet"
FIXED: Final[Mapping[KeyPath, str]] = {
    ("auth",): _BELIEVED,
    ("groups",): "a store that no group had before is looked at, and locked, at the start",
    ("history",): _OPENED,
    ("insecure_no_auth",): _BELIEVED,
    ("limits",): "connections and bodies that are there were let in by it",
    ("listen",): "clients are connected to the address that it is",
    ("logs",): _OPENED,
    ("metrics",): _OPENED,
    ("ollama",): "the store is looked at, and locked, at the start",
    ("origins",): _BELIEVED,
    ("pulls",): "pulls that are under way were allowed by it",
    ("tls",): "its files are read again by themselves when they change, others are not",
    ("tracing",): _OPENED,
    ("trusted_proxies",): _BELIEVED,
}
"""Why the others, by their sections, cannot change while a fleet runs."""


def changed(old: Config, new: Config) -> tuple[KeyPath, ...]:
    """The keys that say something else; of a list it is the list."""
    before, after = (config.model_dump(mode="json", by_alias=True) for config in (old, new))
    return tuple(_changed(before, after, ()))


def fixed(old: Config, new: Config) -> Mapping[str, str]:
    """Those of them that cannot change while a fleet runs, as a file would have them, and why."""
    found = [path for path in changed(old, new) if not _is_live(path)]
    new_stores = set(new.stores) - set(old.stores)
    where = [path for path in changed(old, new) if new_stores and path[0] == "groups"]
    return {show_path(path): FIXED[path[:1]] for path in (*found, *where)}


def _is_live(path: KeyPath) -> bool:
    return any(path[: len(live)] == live for live in LIVE)


def _changed(old: object, new: object, path: KeyPath) -> Iterable[KeyPath]:
    if not (isinstance(old, dict) and isinstance(new, dict)):
        if old != new:
            yield path
        return
    for key in {**old, **new}:
        yield from _changed(old.get(key), new.get(key), (*path, key))
