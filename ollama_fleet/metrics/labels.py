"""Labels from what clients send, bounded: nobody can make series at will."""

from collections.abc import Callable, Iterable
from typing import Final

from ollama_fleet.names import ModelName

OTHER: Final = "other"
NONE: Final = "none"
MAX_MODELS: Final = 100
MAX_CALLERS: Final = 100


class ModelLabels:
    """Names for models by their keys, for the first hundred that a store has.

    `known` says whether any store has a model.
    """

    def __init__(self, known: Callable[[str], bool]) -> None:
        self._known = known
        self._labels: dict[str, str] = {"": NONE}

    def label(self, key: str) -> str:
        """The model's name as Ollama shows it; `none` for no model, `other` beyond the bound."""
        label = self._labels.get(key)
        if label is not None:
            return label
        if len(self._labels) > MAX_MODELS or not self._known(key):
            return OTHER
        self._labels[key] = label = _shown(key)
        return label


class CallerLabels:
    """Names of keys' owners, of the first hundred that ask."""

    def __init__(self) -> None:
        self._labels: set[str] = set()

    def label(self, name: str) -> str:
        """The name; `other` beyond the bound."""
        if name not in self._labels and len(self._labels) >= MAX_CALLERS:
            return OTHER
        self._labels.add(name)
        return name


class RouteLabels:
    """Names for paths: those of the route table, `:name` standing for what a path names."""

    def __init__(self, routes: Iterable[str]) -> None:
        self._labels = {route: f"/{route.lstrip('/')}" for route in routes}
        patterns = [label for label in self._labels.values() if ":" in label]
        self._beginnings = tuple((pattern.partition(":")[0], pattern) for pattern in patterns)

    def label(self, path: str) -> str:
        """The route of a path, or of a route as the table has it; else `other`."""
        label = self._labels.get(path)
        if label is not None:
            return label
        found = (p for beginning, p in self._beginnings if path.startswith(beginning))
        return next(found, OTHER)


def as_cause(failure: str) -> str:
    """A failure's class name as a label: `first_byte_timeout`."""
    words = "".join(f"_{c.lower()}" if c.isupper() else c for c in failure)
    return words.lstrip("_")


def _shown(key: str) -> str:
    try:
        return str(ModelName.parse(key))
    except ValueError:
        return key
