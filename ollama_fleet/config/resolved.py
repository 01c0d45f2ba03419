"""A Config as the plain tree that a file would hold, with the names of files."""

from collections.abc import Iterator, Mapping
from typing import Any

from ollama_fleet.config.paths import KeyPath
from ollama_fleet.config.records import Config


def plain(config: Config) -> dict[str, Any]:
    """Return the configuration in dicts, lists and scalars; what is unset is left out."""
    unset = Config().model_dump(mode="json", by_alias=True)
    tree = _without_unset(config.model_dump(mode="json", by_alias=True), unset)
    assert isinstance(tree, dict)
    return tree


def leaves(value: object, path: KeyPath = ()) -> Iterator[KeyPath]:
    """Yield the paths that hold a scalar, a list of scalars or nothing, in order."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    elif isinstance(value, list) and not is_flat(value):
        for index, item in enumerate(value):
            yield from leaves(item, (*path, index))
    else:
        yield path


def is_flat(items: list[Any]) -> bool:
    """Whether a list holds scalars only."""
    return not any(isinstance(item, dict | list) for item in items)


def _without_unset(value: object, default: object) -> object:
    """Drop keys that are None; one whose default is something is kept, for it unsets that."""
    if isinstance(value, list):
        return [_without_unset(item, None) for item in value]
    if not isinstance(value, dict):
        return value
    usual = default if isinstance(default, Mapping) else {}
    kept = {key: item for key, item in value.items() if (item, usual.get(key)) != (None, None)}
    return {key: _without_unset(item, usual.get(key)) for key, item in kept.items()}
