"""Which keys of fleet.yaml a running fleet takes from a file that was changed. Pure."""

from collections.abc import Iterable
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
    ("limits", "first_byte_timeout"),
    ("limits", "idle_timeout"),
    ("limits", "whole_answer_timeout"),
    ("logs", "level"),
    ("models",),
    ("ollama", "binary"),
    ("queue",),
)
"""The keys, and the sections, that a reload takes. All others need a restart of the fleet."""


def changed(old: Config, new: Config) -> tuple[KeyPath, ...]:
    """The keys that say something else; of a list it is the list."""
    before, after = (config.model_dump(mode="json", by_alias=True) for config in (old, new))
    return tuple(_changed(before, after, ()))


def fixed(old: Config, new: Config) -> tuple[str, ...]:
    """Those of them that cannot change while a fleet runs, as a file would have them."""
    found = [path for path in changed(old, new) if not _is_live(path)]
    new_stores = set(new.stores) - set(old.stores)
    where = [path for path in changed(old, new) if new_stores and path[0] == "groups"]
    return tuple(dict.fromkeys(show_path(path) for path in (*found, *where)))


def _is_live(path: KeyPath) -> bool:
    return any(path[: len(live)] == live for live in LIVE)


def _changed(old: object, new: object, path: KeyPath) -> Iterable[KeyPath]:
    if not (isinstance(old, dict) and isinstance(new, dict)):
        if old != new:
            yield path
        return
    for key in {**old, **new}:
        yield from _changed(old.get(key), new.get(key), (*path, key))
